#!/usr/bin/env bash
# Every codec that is built keeps the contract: one line a property (tessera plugin check).
build=${TESSERA_BUILD:-build}
for plugin in "$build"/lib/tessera/tessera-codec-*.so; do
    lines=$("$build/bin/tessera" plugin check "$plugin" 2>&1)
    status=$?
    # A skip says that the property has no meaning for this codec: that is no test that was left out.
    grep '^ok - ' <<<"$lines" | sed 's/: /_/'
    grep -vE '^(ok|skip) - |^[0-9]+ passed' <<<"$lines" | sed -E 's/^(not ok|crash|hang) - /not ok - /'
    [ $status -eq 0 ] || grep -q '^not ok\|^crash\|^hang' <<<"$lines" || echo "not ok - ${plugin##*/}: exit $status"
done
