# SPDX-License-Identifier: MIT
"""`adopt`: the VIPs of keepalived.conf moved onto dummies, on a running host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import (
    config,
    edits,
    foreign,
    journal,
    keepalived,
    links,
    listeners,
    live,
    replace,
    service,
    transaction,
)
from keepalived_dummy.errors import UserError
from keepalived_dummy.journal import Generation, Journal, Transaction
from keepalived_dummy.keepalived.disk import Disk
from keepalived_dummy.live import Live
from keepalived_dummy.rewrite import Overlay, Rewrite, rewrite, verify
from keepalived_dummy.targets import FOLDER, Wish

ROOT = Path("/")
DONE, REFUSED, TO_DO = 0, 1, 3  # 2 is for usage


@dataclass(frozen=True)
class Options:
    """As on the command line."""

    config: Path = keepalived.CONFIG
    wish: Wish = field(default_factory=Wish)
    partial: bool = False
    dry_run: bool = False
    reload: bool = True
    check: bool = True


@dataclass(frozen=True)
class Voice:
    """How to speak: `ask` shows what is about to be done, and returns whether to do it."""

    say: Callable[[str], None]
    complain: Callable[[str], None]
    ask: Callable[[], bool]


def run(options: Options, voice: Voice) -> int:
    """The whole command. Exit status: 0 done or nothing to do, 1 refused or taken back, 3 see --dry-run."""
    ledger = Journal()
    if options.dry_run:
        interrupted = ledger.under_way()
        if interrupted:
            voice.say(f"an interrupted {interrupted.kind} is finished first")
        live.reaches(options.config, service.find(), options.reload)
        status = _show(options, voice, plan(options))
        return TO_DO if interrupted and status == DONE else status
    live.must_be_root()
    with live.alone():
        running = service.find()
        live.reaches(options.config, running, options.reload)
        if options.reload:
            live.reads(options.config, running)
        if not recovered(ledger, options.config, voice):
            return REFUSED
        host = Live(options.config, voice.say, needs_states=options.check)
        done = plan(options)
        status = _show(options, voice, done)
        if status != TO_DO:
            return status
        if not voice.ask():
            voice.complain("nothing was changed")
            return REFUSED
        return _carry_out(options, voice, host, ledger, done)


def recovered(ledger: Journal, path: Path, voice: Voice) -> bool:
    """Finish what a run that was killed left, with the --config it had; whether nothing is left of it."""
    left = ledger.under_way()
    if left is None:
        return True
    host = Live(Path(left.config) if left.config else path, voice.say)
    outcome = transaction.recover(ledger, host)
    return outcome is None or tell(voice, outcome) == DONE


def plan(options: Options) -> Rewrite:
    """What is to be done. Raises UserError where keepalived.conf can't be read, or the result is not right."""
    files = Disk(ROOT)
    document = keepalived.read_from(files, str(options.config))
    if not document.files:
        raise UserError("; ".join(map(str, document.problems)))
    facts = live.facts(links.read_patiently())
    done = rewrite(document, files, config.load(ROOT), facts, options.wish)
    if wrong := verify(document, files, done):
        raise UserError(
            "the result is not what was wanted, and nothing is changed: " + "; ".join(wrong)
        )
    return done


def _show(options: Options, voice: Voice, done: Rewrite) -> int:
    """Say what is to be done; DONE, REFUSED, or TO_DO."""
    for note in done.notes:
        voice.say(note)
    for problem in done.refused:
        voice.complain(str(problem))
    if done.refused and not options.partial:
        voice.complain("nothing is changed; mend these, or leave them as they are with --partial")
        return REFUSED
    if not done.after:
        voice.say("nothing to do")
        return DONE
    if options.check and _endangers(options, voice, done):
        return REFUSED
    before, after = dict(done.before), {**done.confs, **done.after}
    if (drop_in := foreign.wanted(ROOT, config.load(ROOT), _with_routes(done))) is not None:
        path = f"/{foreign.PATH}"
        voice.say(foreign.announced(drop_in))
        after[path] = drop_in.content
        if (there := replace.content(Path(path))) is not None:
            before[path] = there
    if service.find().systemd:
        for line in listeners.before(done.vips, _bound(done), ROOT):
            voice.say(line)
    voice.say(edits.diff(before, after, done.read))
    return TO_DO


def _bound(done: Rewrite) -> frozenset[listeners.Listener]:
    """The sockets bound to a VIP that moves."""
    return listeners.read({vip.address for vip in done.vips if vip.before != vip.after})


def _with_routes(done: Rewrite) -> keepalived.Document | None:
    """keepalived.conf as it is to be, where routes are added; they ask for a drop-in as those before do."""
    if not done.routes:
        return None
    return keepalived.read_from(Overlay(Disk(ROOT), done.after), str(keepalived.CONFIG))


def _endangers(options: Options, voice: Voice, done: Rewrite) -> bool:
    """Whether the VIPs would not be served where they are to go, by what `check` knows of; says so."""
    running = service.find()
    if not running.systemd:  # in a chroot, the network is not this system's
        return False
    untold = service.obstacle(running.pid) if options.reload else ""
    if untold:
        voice.complain(untold)
    # Not for a run with nothing to do, nor for revert.
    from keepalived_dummy import check, foresight

    found, unseen = foresight.look(ROOT, options.config, done)
    for missed in unseen:
        voice.say(f"{missed.what} could not be looked at: {missed.why}")
    for one in found:
        voice.complain(check.text(one))
    if found or untold:
        voice.complain(
            "nothing is changed; mend these, or move the VIPs all the same with --no-check"
        )
    return bool(found or untold)


def _carry_out(options: Options, voice: Voice, host: Live, ledger: Journal, done: Rewrite) -> int:
    after = {**done.confs, **done.after}
    if done.confs:
        Path(FOLDER).mkdir(mode=0o755, exist_ok=True)
    for path in after:
        replace.clean(Path(path).parent)
        replace.check(Path(path))
    changes = transaction.changes(ledger, done.before, after)
    moved = tuple(vip for vip in done.vips if vip.before != vip.after)
    path = str(options.config)
    generations = (*ledger.adopted(), Generation(changes, moved, path))
    reload = options.reload and host.service.pid != 0
    what = Transaction(
        journal.ADOPT, changes, done.vips, generations, journal.FORWARD, reload, path
    )
    bound = _bound(done) if host.service.systemd else frozenset()
    outcome = transaction.run(ledger, host, what)
    if outcome.done:
        places = sorted({vip.after for vip in moved})
        what_moved = (
            f"{len(moved)} addresses on {', '.join(places)}" if moved else "no address moved"
        )
        voice.say(f"adopted: {what_moved}")
        voice.say(_of_reload(options, host, outcome.shown))
        for line in listeners.after(bound, _bound(done)) if bound else ():
            voice.say(line)
    return tell(voice, outcome)


def _of_reload(options: Options, host: Live, shown: bool) -> str:
    if not options.reload:
        return "keepalived was not reloaded; until it is, it goes on as before"
    if not host.service.pid:
        return "keepalived does not run; it takes this at its start"
    as_before = "every VIP it held is where it should be, and every MASTER still is one"
    if shown:
        return f"keepalived has it: {as_before}"
    return f"keepalived was reloaded: {as_before}; nothing shows whether it has taken this, but its log"


def tell(voice: Voice, outcome: transaction.Outcome) -> int:
    """Say how it went; the exit status."""
    for line in outcome.wrong:
        voice.complain(line)
    for line in outcome.said:
        voice.say(line)
    return DONE if outcome.done else REFUSED
