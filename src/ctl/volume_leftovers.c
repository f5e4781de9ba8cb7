/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/volume_leftovers.h"

void volume_note_leftover(Stored__V1__Volume *r, struct uuid disk, struct arena *arena)
{
    for (size_t i = 0; i < r->n_placement; i++)
        if (uuid_equal(field_uuid(r->disks[r->placement[i]]), disk))
            return;
    for (size_t i = 0; i < r->n_leftovers; i++)
        if (uuid_equal(field_uuid(r->leftovers[i]), disk))
            return;
    ProtobufCBinaryData *all = arena_alloc(arena, (r->n_leftovers + 1) * sizeof *all);
    for (size_t i = 0; i < r->n_leftovers; i++)
        all[i] = r->leftovers[i];
    all[r->n_leftovers++] = arena_uuid_bytes(arena, disk);
    r->leftovers = all;
}

bool volume_drop_leftover(Stored__V1__Volume *r, struct uuid disk, struct arena *arena)
{
    ProtobufCBinaryData *rest = arena_alloc(arena, r->n_leftovers * sizeof *rest);
    size_t count = 0;

    for (size_t i = 0; i < r->n_leftovers; i++)
        if (!uuid_equal(field_uuid(r->leftovers[i]), disk))
            rest[count++] = r->leftovers[i];
    const bool was_one = count < r->n_leftovers;
    r->leftovers = rest;
    r->n_leftovers = count;
    return was_one;
}
