#!/bin/zsh -f
# SPDX-License-Identifier: MIT
# What zsh itself offers: `complete.zsh FOLDER LINE...` completes each LINE with the functions in FOLDER, in a
# terminal of its own, and prints the matches of each on a line.

zmodload zsh/zpty || exit 9

# In there: what would be offered goes out in marks. The words READY and DONE are not in what is typed.
inside=$(cat << 'END'
PS1=; unset zle_bracketed_paste; stty -echo
fpath=(FOLDER $fpath); autoload -Uz compinit; compinit -D -u
compadd() {
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
        local -a found
        builtin compadd -A found "$@"
        print -r -- $'\n'"<"${(pj:>\n<:)^found}">"
    fi
    builtin compadd "$@"
}
finish() { print; print DO""NE; zle kill-whole-line }
zle -N finish; bindkey '^X' finish; bindkey '^I' complete-word
print REA""DY
END
)

zpty terminal zsh -f -i
zpty -w terminal "${inside/FOLDER/${(q)1}}"
zpty -r terminal before '*READY*'
for line in "${@[2,-1]}"; do
    zpty -w -n terminal "$line"$'\t\x18'
    zpty -r terminal got '*DONE*'
    print -r -- ${${(M)${(f)got//$'\r'}:#<*>}//[<>]}
done
zpty -d terminal
