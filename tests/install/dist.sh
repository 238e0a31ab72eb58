#!/usr/bin/env bash
# `make dist` packs one commit into the same bytes twice, whatever the umask, time zone and locale, and nothing that was built; what it
# packs can be built.
git rev-parse --verify -q HEAD >/dev/null || { echo "skip - dist: this is no git repository"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
check() { # name command...
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; fi
}
version=$(sed -n 's/.*TSR_VERSION "\(.*\)"/\1/p' framework/include/tessera/version.h) tree=tessera-$version
check dist eval 'contrib/dist "$version" "$work/a" >/dev/null 2>&1'
(umask 077 && TZ=Asia/Tokyo LC_ALL=C contrib/dist "$version" "$work/b") >/dev/null 2>&1
check same_bytes_again cmp "$work/a/$tree.tar.gz" "$work/b/$tree.tar.gz"
tar -xzf "$work/a/$tree.tar.gz" -C "$work"
check all_that_is_committed [ "$(cd "$work/$tree" && find . -type f -o -type l | wc -l)" -eq "$(git ls-tree -r HEAD | wc -l)" ]
check nothing_that_was_built [ -z "$(cd "$work/$tree" && find . -name '*.o' -o -name '*.so' -o -name build)" ]
check make_knows_what_to_do eval 'make -s -n -C "$work/$tree" all >"$work/log" 2>&1'
without_git() { ! (cd "$work/$tree" && GIT_CEILING_DIRECTORIES=$work contrib/dist 1 "$work/c") >"$work/log" 2>&1 && grep -q "no git repository" "$work/log"; }
check without_git_it_says_so without_git
