/* SPDX-License-Identifier: Apache-2.0
 *
 * The file is found beside the weights, also when one file of weights was named. */
#include "model_type.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <format/json.h>
#include <string.h>

#define MODEL_CONFIG "config.json"
#define MODEL_CONFIG_MAX (UINT64_C(16) << 20)

tsr_status model_type_read(const struct checkpoint *checkpoint, struct arena *arena, const char **type,
                           tsr_error *err) {
    char *path = fs_join(checkpoint->root, MODEL_CONFIG), *text = NULL;
    json_t *root = NULL;
    uint64_t size = 0;
    tsr_status st = path ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for the model type");
    *type = NULL;
    if (st || fs_kind_of(path) != FS_FILE) goto done;
    st = fs_read_whole(path, MODEL_CONFIG_MAX, &text, &size, err);
    if (!st) st = json_parse(text, size, path, &root, err);
    if (st) goto done;
    const char *found = json_string_value(json_object_get(root, "model_type"));
    if (found) *type = arena_dup(arena, found, strlen(found));
    if (found && !*type) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the model type");
done:
    json_decref(root);
    mem_free(text);
    mem_free(path);
    return st;
}
