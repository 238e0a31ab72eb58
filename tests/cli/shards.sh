#!/usr/bin/env bash
# A job cut into shares: the merge equals one process byte for byte, and takes nothing that does not belong to it; the
# store and the record do what they promise.
source "$(dirname "$0")/../fault/lib"
check() { # name command...
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; fi
}
refuses() { # name code pattern command...
    local name=$1 code=$2 pattern=$3 status
    shift 3
    "$@" >/dev/null 2>"$work/stderr"
    status=$?
    if [ $status -eq "$code" ] && grep -qE "^tessera: error: .*$pattern" "$work/stderr"; then echo "ok - $name"; else
        echo "  exit $status, expected $code and \"$pattern\":"
        sed 's/^/  /' "$work/stderr"
        echo "not ok - $name"
    fi
}
same() { diff -rq -x tessera.run.json "$1" "$2"; }
run_fact() { # output member
    sed -n "s/.*\"$2\": \([0-9]*\).*/\1/p" "$1/tessera.run.json"
}

mkdir "$work/model" "$work/tuned"
make_model "$work/model/model.safetensors" 9 300 256
printf '{"model_type": "llama"}\n' >"$work/model/config.json"
printf 'tessera: 1\nroles: llama\nrules:\n  - {codec: scalar, params: {bits: 4}}\n' >"$work/job.yaml"
command=("$tool" compress "$work/model" -c "$work/job.yaml" -q -j2)
"${command[@]}" -o "$work/whole" || exit 1

# ---- shards ----
for count in 1 4 12; do # 12: more shares than tensors
    out=$work/out$count
    for ((i = count; i >= 1; i--)); do "${command[@]}" -o "$out" --shard $i/$count || exit 1; done
    "${command[@]}" -o "$out" --merge $count
    check "${count}_shards_merge_to_the_bytes_of_one_process" same "$work/whole" "$out"
    check "merged_shards_of_${count}_are_removed" [ -z "$(ls -d "$out".shard-* "$out".tessera-work 2>/dev/null)" ]
done

out=$work/bad
for i in 1 2 3; do "${command[@]}" -o "$out" --shard $i/3 || exit 1; done
set_aside() { rm -rf "$work/aside" && mv "$out.shard-2-of-3" "$work/aside"; }
put_back() { rm -rf "$out.shard-2-of-3" && mv "$work/aside" "$out.shard-2-of-3"; }
merge=("${command[@]}" -o "$out" --merge 3)
set_aside
refuses a_missing_shard_is_named 2 'shard 2/3 is missing' "${merge[@]}"
cp -r "$out.shard-1-of-3" "$out.shard-2-of-3"
refuses a_shard_that_is_there_twice_is_named 2 'shard-2-of-3: holds shard 1/3, which is there twice' "${merge[@]}"
rm -rf "$out.shard-2-of-3"
sed 's/bits: 4/bits: 5/' "$work/job.yaml" >"$work/other.yaml"
"$tool" compress "$work/model" -c "$work/other.yaml" -q -o "$out" --shard 2/3 || exit 1
refuses a_foreign_shard_is_named 2 'shard-2-of-3: is a shard of another job' "${merge[@]}"
rm -rf "$out.shard-2-of-3"
"${command[@]}" -o "$out" --shard 2/4 && mv "$out.shard-2-of-4" "$out.shard-2-of-3"
refuses a_shard_of_another_cut_is_named 2 'shard-2-of-3: is one of 4 shards, expected one of 3' "${merge[@]}"
put_back
part=$(ls "$out.shard-2-of-3"/parts/*.part | head -1)
cp "$part" "$work/part"
printf 'X' | dd of="$part" bs=1 seek=3000 conv=notrunc status=none
refuses a_damaged_part_is_named 2 'shard-2-of-3: the part of tensor "model.layers.*" is damaged' "${merge[@]}"
rm "$part"
refuses an_absent_part_is_named 2 'shard-2-of-3: the part of tensor "model.layers.*" is missing' "${merge[@]}"
cp "$work/part" "$part"
sed -i 's/"shard": 2/"shard": 3/' "$out.shard-2-of-3/shard.json"
refuses a_changed_manifest_is_named 2 'shard.json: was changed' "${merge[@]}"
sed -i 's/"shard": 3/"shard": 2/' "$out.shard-2-of-3/shard.json"
"${merge[@]}"
check a_merge_goes_on_after_refusals same "$work/whole" "$out"
for share in 0/3 4/3 2 a/b 1/3x 1/99999; do
    refuses "a_share_of_${share/\//_in_}_is_refused" 1 'is not a share' "${command[@]}" -o "$out" --shard "$share"
done
refuses shard_and_merge_exclude_each_other 1 'give one of them' "${command[@]}" -o "$out" --shard 1/2 --merge 2

# ---- record ----
recorded=("${command[@]}" -o "$work/rec" --record "$work/state/rec")
"${recorded[@]}"
before=$(stat -c %Y%i "$work/rec/model.safetensors")
check a_recorded_run_knows_that_it_is_done "${recorded[@]}"
check a_run_that_is_done_touches_nothing [ "$before" = "$(stat -c %Y%i "$work/rec/model.safetensors")" ]
refuses another_job_does_not_pass_for_it 1 'exists, --force' "$tool" compress "$work/model" -c "$work/other.yaml" -q \
    -o "$work/rec" --record "$work/state/rec"
check a_record_tells_how_a_run_failed grep -q '"status": "config"' "$work/state/rec"
check a_failure_does_not_make_a_record_forget_its_output "${recorded[@]}"
rm "$work/state/rec"
refuses without_its_record_an_output_is_another_one 1 'exists, --force' "${recorded[@]}"
"${command[@]}" -o "$work/rec2" --shard 1/2 --record "$work/state/shard"
check a_recorded_shard_knows_that_it_is_done "${command[@]}" -o "$work/rec2" --shard 1/2 --record "$work/state/shard"

# ---- store ----
loud=("$tool" compress "$work/model" -c "$work/job.yaml" -j2)
stored() { "${loud[@]}" >/dev/null -o "$work/$1" --store "$work/store" 2>"$work/stderr"; }
stored s1
check a_new_store_is_filled [ "$(find "$work/store" -name '*.facts' | wc -l)" -eq 9 ]
stored s2
check a_full_store_leaves_nothing_to_encode [ "$(run_fact "$work/s2" encoded_bytes)" -eq 0 ]
check what_comes_from_the_store_is_the_same same "$work/whole" "$work/s2"
entries=($(find "$work/store" -type f -not -name '*.facts' | sort))
printf 'X' | dd of="${entries[0]}" bs=1 seek=2000 conv=notrunc status=none
cp --remove-destination "${entries[2]}" "${entries[1]}"
cp "${entries[2]}.facts" "${entries[1]}.facts"
: >"${entries[3]}.facts"
head -c 100 "${entries[4]}" >"$work/short" && mv "$work/short" "${entries[4]}"
stored s3
check poisoned_entries_are_found [ "$(grep -c 'is not what was kept' "$work/stderr")" -eq 4 ]
check poisoned_entries_are_encoded_anew [ "$(run_fact "$work/s3" encoded_bytes)" -eq $((4 * 300 * 256 * 2)) ]
check a_poisoned_store_changes_no_byte same "$work/whole" "$work/s3"
check a_poisoned_entry_does_not_reach_older_outputs "$tool" verify "$work/s2" -q
stored s4
check a_mended_store_is_whole [ "$(run_fact "$work/s4" encoded_bytes)" -eq 0 ]
check no_lock_stays [ -z "$(find "$work/store" -name '*.lock')" ]

# Two runs at once share the work: together they encode each tensor once.
rm -rf "$work/store"
stored p1 & first=$!
"${command[@]}" -o "$work/p2" --store "$work/store"
wait $first
check two_runs_at_once_encode_each_tensor_once \
    [ $(($(run_fact "$work/p1" encoded_bytes) + $(run_fact "$work/p2" encoded_bytes))) -eq $((9 * 300 * 256 * 2)) ]
check two_runs_at_once_write_the_same same "$work/p1" "$work/p2"
