/* SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"

#include "store/record_format.h"

static_assert(STORE_NAME_BYTES == sizeof(((struct record_volume_format *)0)->name), "names");

/* The fixed part of a record, and the size of its items. */
struct record_shape {
    uint16_t fixed_bytes;
    uint16_t item_bytes;
    uint16_t items_max;
};

static const struct record_shape shapes[] = {
    [RECORD_VOLUME] = { sizeof(struct record_volume_format), 0, 0 },
    [RECORD_VOLUME_DELETE] = { sizeof(struct record_volume_delete_format), 0, 0 },
    [RECORD_EPOCH] = { sizeof(struct record_epoch_format), 0, 0 },
    [RECORD_SHARD] = { sizeof(struct record_shard_format), 0, 0 },
    [RECORD_WRITE] = { sizeof(struct record_write_format), 4, RECORD_GRAIN_BLOCKS },
    [RECORD_ZERO] = { sizeof(struct record_zero_format), 0, 0 },
    [RECORD_GRAINS] = { sizeof(struct record_grains_format),
                        sizeof(struct record_grains_item_format), RECORD_GRAINS_ITEMS_MAX },
    [RECORD_INTENT] = { sizeof(struct record_head_format), sizeof(struct record_intent_item_format),
                        RECORD_INTENT_ITEMS_MAX },
    [RECORD_LOSS] = { sizeof(struct record_state_format), 0, 0 },
    [RECORD_HEAD] = { sizeof(struct record_counters_format), 0, 0 },
    [RECORD_COPY] = { sizeof(struct record_write_format), 4, 16 },
    [RECORD_BUSY] = { sizeof(struct record_state_format), 0, 0 },
    [RECORD_CELLS] = { sizeof(struct record_grains_format), sizeof(struct record_cells_item_format),
                       RECORD_CELLS_ITEMS_MAX },
    [RECORD_REGIONS] = { sizeof(struct record_head_format),
                         sizeof(struct record_regions_item_format), RECORD_REGIONS_ITEMS_MAX },
    [RECORD_COPYSET] = { sizeof(struct record_copyset_format), 0, 0 },
    [RECORD_SPOIL] = { sizeof(struct record_grains_format), sizeof(struct record_spoil_item_format),
                       RECORD_SPOIL_ITEMS_MAX },
    [RECORD_POINTS] = { sizeof(struct record_points_format), 0, 0 },
};

static bool record_type_is_known(uint32_t type)
{
    return type >= RECORD_VOLUME && type <= RECORD_POINTS;
}

size_t record_bytes(enum record_type type, uint32_t items)
{
    assert(record_type_is_known(type));
    assert(items <= shapes[type].items_max);
    return shapes[type].fixed_bytes + (size_t)items * shapes[type].item_bytes;
}

/* ---- Encoding ---- */

static struct record_head_format head_make(enum record_type type, size_t bytes)
{
    return (struct record_head_format) { .type = le16_make((uint16_t)type),
                                         .bytes = le16_make((uint16_t)bytes) };
}

static void encode_volume(const struct record_volume *v, struct span out)
{
    struct record_volume_format f = {
        .head = head_make(RECORD_VOLUME, out.bytes),
        .id = le32_make(v->id),
        .bytes = le64_make(v->volume.bytes),
        .shard_bytes = le64_make(v->volume.shard_bytes),
        .lba_bytes = le32_make(v->volume.lba_bytes),
        .stripe_unit_bytes = le32_make(v->volume.stripe_unit_bytes),
        .stripe_width = le32_make(v->volume.stripe_width),
        .replicas = (uint8_t)v->volume.replicas,
        .min_in_sync = (uint8_t)v->volume.min_in_sync,
        .flags = le16_make(
            (uint16_t)((v->volume.continue_on_unflushed_loss ? RECORD_VOLUME_CONTINUE : 0) |
                       (v->loss ? RECORD_VOLUME_LOSS : 0) | (v->busy ? RECORD_VOLUME_BUSY : 0))),
        .first_run_shards = le32_make(v->volume.first_run_shards),
    };
    memcpy(f.uuid, v->volume.uuid.b, sizeof f.uuid);
    memcpy(f.name, v->volume.name, strnlen(v->volume.name, STORE_NAME_BYTES - 1));
    memcpy(out.at, &f, sizeof f);
}

static void encode_shard(const struct record_shard *s, struct span out)
{
    const struct record_shard_format f = {
        .head = head_make(RECORD_SHARD, out.bytes),
        .id = le32_make(s->id),
        .volume = le32_make(s->volume),
        .index = le32_make(s->index),
        .group = le32_make(s->group),
        .epoch = le64_make(s->epoch),
        .generation = le64_make(s->generation),
        .bytes = le64_make(s->bytes),
        .kind = le16_make(RECORD_SHARD_KIND_MAP),
        .copyset = le16_make(s->copyset),
    };
    memcpy(out.at, &f, sizeof f);
}

static void encode_write(enum record_type type, const struct record_write *w, struct span out)
{
    const uint32_t at = (uint32_t)(w->place % RECORD_GRAIN_BLOCKS);
    const uint32_t cell = record_write_is_natural(w) ? 0 : at / RECORD_CELL_BLOCKS + 1;

    assert(w->count > 0 && w->first + w->count <= RECORD_GRAIN_BLOCKS);
    assert(at % RECORD_CELL_BLOCKS == w->first % RECORD_CELL_BLOCKS);
    assert(w->place / RECORD_GRAIN_BLOCKS < LAYOUT_GRAINS_MAX);
    const struct record_write_format f = {
        .head = head_make(type, out.bytes),
        .shard = le32_make(w->shard),
        .generation = le64_make(w->generation),
        .grain = le32_make(w->grain),
        .place = le32_make((uint32_t)(w->place / RECORD_GRAIN_BLOCKS)),
        .first = (uint8_t)w->first,
        .count = (uint8_t)w->count,
        .cell = (uint8_t)cell,
    };
    memcpy(out.at, &f, sizeof f);
}

static void encode_zero(const struct record_zero *z, struct span out)
{
    assert(z->count > 0);

    const struct record_zero_format f = {
        .head = head_make(RECORD_ZERO, out.bytes),
        .shard = le32_make(z->shard),
        .generation = le64_make(z->generation),
        .first = le64_make(z->first),
        .count = le64_make(z->count),
        .state = z->zero ? 1 : 0,
    };
    memcpy(out.at, &f, sizeof f);
}

static void encode_epoch(const struct record_epoch *e, struct span out)
{
    const struct record_epoch_format f = {
        .head = head_make(RECORD_EPOCH, out.bytes),
        .volume = le32_make(e->volume),
        .group = le32_make(e->group),
        .epoch = le64_make(e->epoch),
    };
    memcpy(out.at, &f, sizeof f);
}

static void encode_copyset(const struct record_copyset *c, struct span out)
{
    struct record_copyset_format f = {
        .head = head_make(RECORD_COPYSET, out.bytes),
        .volume = le32_make(c->volume),
        .number = le32_make(c->number),
        .group = le32_make(c->group),
        .epoch = le64_make(c->epoch),
        .sequence = le64_make(c->sequence),
        .in = c->set.in,
        .whole = c->set.whole,
    };
    for (unsigned i = 0; i < STORE_REPLICAS_MAX; i++)
        memcpy(f.disks[i], c->set.disk[i].b, sizeof f.disks[i]);
    for (unsigned i = 0; i < STORE_REPLICAS_MAX; i++)
        f.incarnations[i] = le64_make(c->set.incarnation[i]);
    memcpy(out.at, &f, sizeof f);
}

static void encode_points(const struct record_points *p, struct span out)
{
    struct record_points_format f = { .head = head_make(RECORD_POINTS, out.bytes),
                                      .volume = le32_make(p->volume),
                                      .number = le32_make(p->number),
                                      .group = le32_make(p->group) };

    for (unsigned i = 0; i < STORE_COPYSET_POINTS; i++) {
        memcpy(f.points[i].disk, p->points[i].disk.b, sizeof f.points[i].disk);
        f.points[i].incarnation = le64_make(p->points[i].incarnation);
        f.points[i].position = le64_make(p->points[i].position);
    }
    memcpy(out.at, &f, sizeof f);
}

/* Types whose fixed part is the head and at most two numbers. */
static void encode_small(const struct record *rec, struct span out)
{
    struct record_counters_format f = { .head = head_make(rec->type, out.bytes) };
    struct record_grains_format g = { .head = f.head };

    switch (rec->type) {
    case RECORD_GRAINS:
    case RECORD_CELLS:
    case RECORD_SPOIL:
        g.shard = le32_make(rec->u.grains.shard);
        g.generation = le64_make(rec->u.grains.generation);
        memcpy(out.at, &g, sizeof g);
        return;
    case RECORD_HEAD:
        f.next_volume = le32_make(rec->u.head.next_volume);
        f.next_shard = le32_make(rec->u.head.next_shard);
        break;
    case RECORD_BUSY:
        f.next_volume = le32_make(rec->u.busy.volume);
        f.next_shard = le32_make(rec->u.busy.busy ? 1 : 0);
        break;
    default:
        f.next_volume = le32_make(rec->u.volume_id);
        break;
    }
    memcpy(out.at, &f, shapes[rec->type].fixed_bytes);
}

void record_encode(const struct record *rec, struct span out)
{
    assert(out.bytes == record_bytes(rec->type, rec->items));
    assert(out.bytes <= RECORD_BYTES_MAX);

    switch (rec->type) {
    case RECORD_VOLUME:
        encode_volume(&rec->u.volume, out);
        break;
    case RECORD_EPOCH:
        encode_epoch(&rec->u.epoch, out);
        break;
    case RECORD_SHARD:
        encode_shard(&rec->u.shard, out);
        break;
    case RECORD_WRITE:
    case RECORD_COPY:
        encode_write(rec->type, &rec->u.write, out);
        break;
    case RECORD_ZERO:
        encode_zero(&rec->u.zero, out);
        break;
    case RECORD_COPYSET:
        encode_copyset(&rec->u.copyset, out);
        break;
    case RECORD_POINTS:
        encode_points(&rec->u.points, out);
        break;
    case RECORD_VOLUME_DELETE:
    case RECORD_LOSS:
    case RECORD_HEAD:
    case RECORD_GRAINS:
    case RECORD_INTENT:
    case RECORD_BUSY:
    case RECORD_CELLS:
    case RECORD_REGIONS:
    case RECORD_SPOIL:
        encode_small(rec, out);
        break;
    }
}

void record_put_crc(struct span out, uint32_t item, uint32_t crc)
{
    const struct le32 f = le32_make(crc);
    const struct span at =
        span_sub(out, sizeof(struct record_write_format) + (size_t)item * sizeof f, sizeof f);
    memcpy(at.at, &f, sizeof f);
}

void record_put_grains(struct span out, uint32_t item, const struct record_grains_item *grains)
{
    const struct record_grains_item_format f = {
        .grain = le32_make(grains->grain),
        .count = le32_make(grains->count),
        .place = le32_make(grains->place),
        .data = le32_make(grains->data),
        .zero = le32_make(grains->zero),
    };
    const struct span at =
        span_sub(out, sizeof(struct record_grains_format) + item * sizeof f, sizeof f);
    memcpy(at.at, &f, sizeof f);
}

void record_put_cell(struct span out, uint32_t item, const struct record_cells_item *cell)
{
    assert(cell->cell < RECORD_GRAIN_CELLS && cell->data > 0 && cell->data <= 0xf);

    const struct record_cells_item_format f = {
        .grain = le32_make(cell->grain),
        .address = le32_make(cell->address),
        .cell = (uint8_t)cell->cell,
        .data = (uint8_t)cell->data,
    };
    const struct span at =
        span_sub(out, sizeof(struct record_grains_format) + item * sizeof f, sizeof f);
    memcpy(at.at, &f, sizeof f);
}

void record_put_intent(struct span out, uint32_t item, const struct record_intent_item *intent)
{
    const struct record_intent_item_format f = {
        .shard = le32_make(intent->shard),
        .region = le32_make(intent->region),
    };
    const struct span at =
        span_sub(out, sizeof(struct record_head_format) + item * sizeof f, sizeof f);
    memcpy(at.at, &f, sizeof f);
}

void record_put_regions(struct span out, uint32_t item, const struct record_regions_item *regions)
{
    const struct record_regions_item_format f = {
        .shard = le32_make(regions->shard),
        .region = le32_make(regions->region),
        .count = le32_make(regions->count),
        .slots = regions->slots,
    };
    const struct span at =
        span_sub(out, sizeof(struct record_head_format) + item * sizeof f, sizeof f);
    memcpy(at.at, &f, sizeof f);
}

void record_put_spoil(struct span out, uint32_t item, const struct record_spoil_item *spoil)
{
    const struct record_spoil_item_format f = {
        .grain = le32_make(spoil->grain),
        .blocks = le32_make(spoil->blocks),
    };
    const struct span at =
        span_sub(out, sizeof(struct record_grains_format) + item * sizeof f, sizeof f);
    memcpy(at.at, &f, sizeof f);
}

/* ---- Decoding ---- */

static bool zeros(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != 0)
            return false;
    }
    return true;
}

static bool is_power_of_two(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

/* A second run begins where the first one is full, and is not empty. */
static bool runs_are_valid(const struct store_volume *v)
{
    return v->first_run_shards == 0 || (v->first_run_shards <= STORE_SHARDS_MAX &&
                                        v->first_run_shards * v->shard_bytes < v->bytes);
}

bool store_volume_is_valid(const struct store_volume *v)
{
    return memchr(v->name, 0, STORE_NAME_BYTES) != NULL && v->bytes > 0 &&
           v->bytes <= STORE_VOLUME_BYTES_MAX && v->shard_bytes >= STORE_SHARD_BYTES_MIN &&
           v->shard_bytes <= STORE_SHARD_BYTES_MAX && v->shard_bytes % STORE_GRAIN_BYTES == 0 &&
           (v->lba_bytes == 512 || v->lba_bytes == STORE_BLOCK_BYTES) &&
           is_power_of_two(v->stripe_unit_bytes) && v->stripe_width >= 1 &&
           v->stripe_width <= STORE_SHARDS_MAX && v->replicas >= 1 && v->replicas <= 3 &&
           v->min_in_sync >= 1 && v->min_in_sync <= v->replicas && runs_are_valid(v);
}

uint64_t store_volume_shards(const struct store_volume *v)
{
    const uint64_t first_bytes = v->first_run_shards * v->shard_bytes;
    const uint64_t group_bytes = v->stripe_width * v->shard_bytes;

    if (v->first_run_shards == 0)
        return (v->bytes - 1) / v->shard_bytes + 1;
    return v->first_run_shards + ((v->bytes - first_bytes - 1) / group_bytes + 1) * v->stripe_width;
}

bool store_volume_extends(const struct store_volume *v, const struct store_volume *old)
{
    const uint64_t first_run =
        old->first_run_shards != 0 ? old->first_run_shards : store_volume_shards(old);

    if (!uuid_equal(v->uuid, old->uuid) || v->shard_bytes != old->shard_bytes ||
        v->lba_bytes != old->lba_bytes || v->stripe_unit_bytes != old->stripe_unit_bytes ||
        v->stripe_width != old->stripe_width || v->bytes < old->bytes)
        return false;
    if (v->first_run_shards != 0)
        return v->first_run_shards == first_run;
    return old->first_run_shards == 0 && store_volume_shards(v) == first_run;
}

bool store_copyset_is_valid(const struct store_copyset *set)
{
    bool named = false;

    for (unsigned i = 0; i < STORE_REPLICAS_MAX; i++) {
        const bool used = !uuid_is_nil(set->disk[i]);
        const unsigned bit = 1u << i;
        named |= used;
        /* Who is not there is neither in sync nor behind; who is in sync is not behind. */
        if ((!used && ((set->in | set->whole) & bit) != 0) || (set->in & set->whole & bit) != 0)
            return false;
        if (!used && set->incarnation[i] != 0)
            return false;
        for (unsigned j = 0; j < i && used; j++) {
            if (uuid_equal(set->disk[i], set->disk[j]))
                return false;
        }
    }
    return named && (set->in | set->whole) < 1u << STORE_REPLICAS_MAX;
}

static struct status MUST_CHECK decode_volume(const uint8_t *at, struct record_volume *out)
{
    struct record_volume_format f;

    memcpy(&f, at, sizeof f);
    *out = (struct record_volume) {
        .id = le32_get(f.id),
        .volume = { .bytes = le64_get(f.bytes),
                    .shard_bytes = le64_get(f.shard_bytes),
                    .lba_bytes = le32_get(f.lba_bytes),
                    .stripe_unit_bytes = le32_get(f.stripe_unit_bytes),
                    .stripe_width = le32_get(f.stripe_width),
                    .replicas = f.replicas,
                    .min_in_sync = f.min_in_sync,
                    .first_run_shards = le32_get(f.first_run_shards),
                    .continue_on_unflushed_loss =
                        (le16_get(f.flags) & RECORD_VOLUME_CONTINUE) != 0 },
        .loss = (le16_get(f.flags) & RECORD_VOLUME_LOSS) != 0,
        .busy = (le16_get(f.flags) & RECORD_VOLUME_BUSY) != 0,
    };
    memcpy(out->volume.uuid.b, f.uuid, sizeof f.uuid);
    memcpy(out->volume.name, f.name, sizeof f.name);
    if (!zeros(f.zero, sizeof f.zero) || (le16_get(f.flags) & ~7u) != 0 ||
        !store_volume_is_valid(&out->volume))
        return STATUS(CORRUPT);
    return STATUS(OK);
}

static struct status MUST_CHECK decode_shard(const uint8_t *at, struct record_shard *out)
{
    struct record_shard_format f;

    memcpy(&f, at, sizeof f);
    *out = (struct record_shard) {
        .id = le32_get(f.id),
        .volume = le32_get(f.volume),
        .index = le32_get(f.index),
        .group = le32_get(f.group),
        .epoch = le64_get(f.epoch),
        .generation = le64_get(f.generation),
        .bytes = le64_get(f.bytes),
        .copyset = le16_get(f.copyset),
    };
    if (le16_get(f.kind) != RECORD_SHARD_KIND_MAP || out->bytes < STORE_SHARD_BYTES_MIN ||
        out->bytes > STORE_SHARD_BYTES_MAX || out->bytes % STORE_GRAIN_BYTES != 0)
        return STATUS(CORRUPT);
    return STATUS(OK);
}

/* Where the first block lies, counted from the place. */
static uint32_t write_position(const struct record_write_format *f)
{
    return f->cell == 0 ? f->first
                        : (f->cell - 1u) * RECORD_CELL_BLOCKS + f->first % RECORD_CELL_BLOCKS;
}

static struct status MUST_CHECK decode_write(const uint8_t *at, uint32_t items,
                                             struct record_write *out)
{
    struct record_write_format f;

    memcpy(&f, at, sizeof f);
    *out = (struct record_write) {
        .shard = le32_get(f.shard),
        .generation = le64_get(f.generation),
        .grain = le32_get(f.grain),
        .place = (uint64_t)le32_get(f.place) * RECORD_GRAIN_BLOCKS + write_position(&f),
        .first = f.first,
        .count = f.count,
    };
    /* What 0 can say is never said otherwise. */
    if (f.cell > RECORD_GRAIN_CELLS || (f.cell > 0 && record_write_is_natural(out)))
        return STATUS(CORRUPT);
    if (f.zero != 0 || le32_get(f.place) >= LAYOUT_GRAINS_MAX || out->count == 0 ||
        out->count != items || out->first + out->count > RECORD_GRAIN_BLOCKS)
        return STATUS(CORRUPT);
    return STATUS(OK);
}

static struct status MUST_CHECK decode_zero(const uint8_t *at, struct record_zero *out)
{
    struct record_zero_format f;

    memcpy(&f, at, sizeof f);
    *out = (struct record_zero) {
        .shard = le32_get(f.shard),
        .generation = le64_get(f.generation),
        .first = le64_get(f.first),
        .count = le64_get(f.count),
        .zero = f.state == 1,
    };
    const uint64_t blocks_max = STORE_SHARD_BYTES_MAX / STORE_BLOCK_BYTES;
    if (!zeros(f.zero, sizeof f.zero) || f.state > 1 || out->count == 0 ||
        out->first > blocks_max || out->count > blocks_max - out->first)
        return STATUS(CORRUPT);
    return STATUS(OK);
}

static bool grains_item_is_valid(const struct record_grains_item *i)
{
    const bool has_place = i->place != RECORD_PLACE_NONE;
    const uint64_t grains_max = STORE_SHARD_BYTES_MAX / STORE_GRAIN_BYTES;

    /* F6. */
    return i->count > 0 && (i->data & i->zero) == 0 && (i->data | i->zero) != 0 &&
           has_place == (i->data != 0) && (uint64_t)i->grain + i->count <= grains_max &&
           (!has_place || (uint64_t)i->place + i->count <= LAYOUT_GRAINS_MAX);
}

static bool cells_item_is_valid(const struct record_cells_item *i)
{
    return i->grain < STORE_SHARD_BYTES_MAX / STORE_GRAIN_BYTES &&
           i->address < LAYOUT_GRAINS_MAX * RECORD_GRAIN_CELLS && i->cell < RECORD_GRAIN_CELLS &&
           i->data > 0 && i->data <= 0xf;
}

static struct status MUST_CHECK decode_cells(struct record *rec)
{
    for (uint32_t i = 0; i < rec->items; i++) {
        struct record_cells_item_format f;
        const struct record_cells_item item = record_get_cell(rec, i);
        memcpy(&f, const_span_sub(rec->raw_items, i * sizeof f, sizeof f).at, sizeof f);
        if (!cells_item_is_valid(&item) || le16_get(f.zero) != 0)
            return STATUS(CORRUPT);
    }
    return rec->items > 0 ? STATUS(OK) : STATUS(CORRUPT);
}

static struct status MUST_CHECK decode_spoil(const struct record *rec)
{
    for (uint32_t i = 0; i < rec->items; i++) {
        const struct record_spoil_item item = record_get_spoil(rec, i);
        if (item.grain >= STORE_SHARD_BYTES_MAX / STORE_GRAIN_BYTES || item.blocks == 0)
            return STATUS(CORRUPT);
    }
    return rec->items > 0 ? STATUS(OK) : STATUS(CORRUPT);
}

/* GRAINS, CELLS and SPOIL. */
static struct status MUST_CHECK decode_grains(const uint8_t *at, struct record *rec)
{
    struct record_grains_format f;

    memcpy(&f, at, sizeof f);
    rec->u.grains =
        (struct record_grains) { .shard = le32_get(f.shard), .generation = le64_get(f.generation) };
    if (rec->type == RECORD_CELLS)
        return decode_cells(rec);
    if (rec->type == RECORD_SPOIL)
        return decode_spoil(rec);
    for (uint32_t i = 0; i < rec->items; i++) {
        const struct record_grains_item item = record_get_grains(rec, i);
        if (!grains_item_is_valid(&item))
            return STATUS(CORRUPT);
    }
    return rec->items > 0 ? STATUS(OK) : STATUS(CORRUPT);
}

static struct status MUST_CHECK decode_regions(const struct record *rec)
{
    const uint64_t regions_max = STORE_SHARD_BYTES_MAX / ((uint64_t)1 << 20);

    for (uint32_t i = 0; i < rec->items; i++) {
        struct record_regions_item_format f;
        const struct record_regions_item item = record_get_regions(rec, i);
        memcpy(&f, const_span_sub(rec->raw_items, i * sizeof f, sizeof f).at, sizeof f);
        if (item.count == 0 || (uint64_t)item.region + item.count > regions_max ||
            item.slots >= 1u << STORE_REPLICAS_MAX || !zeros(f.zero, sizeof f.zero))
            return STATUS(CORRUPT);
    }
    return rec->items > 0 ? STATUS(OK) : STATUS(CORRUPT);
}

static struct status MUST_CHECK decode_copyset(const uint8_t *at, struct record_copyset *out)
{
    struct record_copyset_format f;

    memcpy(&f, at, sizeof f);
    *out = (struct record_copyset) {
        .volume = le32_get(f.volume),
        .number = le32_get(f.number),
        .group = le32_get(f.group),
        .epoch = le64_get(f.epoch),
        .sequence = le64_get(f.sequence),
        .set = { .in = f.in, .whole = f.whole },
    };
    for (unsigned i = 0; i < STORE_REPLICAS_MAX; i++)
        memcpy(out->set.disk[i].b, f.disks[i], sizeof f.disks[i]);
    for (unsigned i = 0; i < STORE_REPLICAS_MAX; i++)
        out->set.incarnation[i] = le64_get(f.incarnations[i]);
    if (!zeros(f.zero, sizeof f.zero) || out->group >= STORE_GROUPS_MAX ||
        !store_copyset_is_valid(&out->set) || out->number > STORE_COPYSET_MAX)
        return STATUS(CORRUPT);
    return STATUS(OK);
}

/* Unused ones are zero, and come last. */
static bool points_are_valid(const struct record_points *p)
{
    bool used = true;

    for (unsigned i = 0; i < STORE_COPYSET_POINTS; i++) {
        const struct store_point *const point = &p->points[i];
        const bool here = !uuid_is_nil(point->disk);
        if ((here && !used) || here != (point->position != 0) || here != (point->incarnation != 0))
            return false;
        used = here;
    }
    return true;
}

static struct status MUST_CHECK decode_points(const uint8_t *at, struct record_points *out)
{
    struct record_points_format f;

    memcpy(&f, at, sizeof f);
    *out = (struct record_points) { .volume = le32_get(f.volume),
                                    .number = le32_get(f.number),
                                    .group = le32_get(f.group) };
    for (unsigned i = 0; i < STORE_COPYSET_POINTS; i++) {
        struct store_point *const point = &out->points[i];
        *point = (struct store_point) { .copyset = out->number,
                                        .incarnation = le64_get(f.points[i].incarnation),
                                        .position = le64_get(f.points[i].position) };
        memcpy(point->disk.b, f.points[i].disk, sizeof f.points[i].disk);
    }
    if (out->group >= STORE_GROUPS_MAX || out->number > STORE_COPYSET_MAX || !points_are_valid(out))
        return STATUS(CORRUPT);
    return STATUS(OK);
}

static struct status MUST_CHECK decode_small(const uint8_t *at, struct record *rec)
{
    struct record_epoch_format epoch;
    struct record_counters_format f = { 0 };

    switch (rec->type) {
    case RECORD_EPOCH:
        memcpy(&epoch, at, sizeof epoch);
        rec->u.epoch = (struct record_epoch) { .volume = le32_get(epoch.volume),
                                               .group = le32_get(epoch.group),
                                               .epoch = le64_get(epoch.epoch) };
        return rec->u.epoch.group < STORE_GROUPS_MAX ? STATUS(OK) : STATUS(CORRUPT);
    case RECORD_HEAD:
        memcpy(&f, at, sizeof f);
        rec->u.head.next_volume = le32_get(f.next_volume);
        rec->u.head.next_shard = le32_get(f.next_shard);
        return STATUS(OK);
    case RECORD_INTENT:
        return rec->items > 0 ? STATUS(OK) : STATUS(CORRUPT);
    case RECORD_BUSY:
        memcpy(&f, at, sizeof f);
        rec->u.busy = (struct record_busy) { .volume = le32_get(f.next_volume),
                                             .busy = le32_get(f.next_shard) == 1 };
        return le32_get(f.next_shard) <= 1 ? STATUS(OK) : STATUS(CORRUPT);
    default: /* VOLUME_DELETE, LOSS. */
        memcpy(&f, at, shapes[rec->type].fixed_bytes);
        rec->u.volume_id = le32_get(f.next_volume);
        return le32_get(f.next_shard) == 0 ? STATUS(OK) : STATUS(CORRUPT);
    }
}

static struct status MUST_CHECK decode_body(const uint8_t *at, struct record *rec)
{
    switch (rec->type) {
    case RECORD_VOLUME:
        return decode_volume(at, &rec->u.volume);
    case RECORD_SHARD:
        return decode_shard(at, &rec->u.shard);
    case RECORD_WRITE:
    case RECORD_COPY:
        return decode_write(at, rec->items, &rec->u.write);
    case RECORD_ZERO:
        return decode_zero(at, &rec->u.zero);
    case RECORD_GRAINS:
    case RECORD_CELLS:
    case RECORD_SPOIL:
        return decode_grains(at, rec);
    case RECORD_REGIONS:
        return decode_regions(rec);
    case RECORD_COPYSET:
        return decode_copyset(at, &rec->u.copyset);
    case RECORD_POINTS:
        return decode_points(at, &rec->u.points);
    case RECORD_VOLUME_DELETE:
    case RECORD_EPOCH:
    case RECORD_INTENT:
    case RECORD_LOSS:
    case RECORD_HEAD:
    case RECORD_BUSY:
        break;
    }
    return decode_small(at, rec);
}

struct status record_decode(struct const_span *payload, struct record *out_rec)
{
    struct record_head_format head;

    if (payload->bytes < sizeof head)
        return STATUS(CORRUPT);
    memcpy(&head, payload->at, sizeof head);
    const uint32_t type = le16_get(head.type);
    const uint32_t bytes = le16_get(head.bytes);
    if (!record_type_is_known(type) || bytes > payload->bytes || bytes < shapes[type].fixed_bytes)
        return STATUS(CORRUPT);

    const struct record_shape *const shape = &shapes[type];
    const uint32_t rest = bytes - shape->fixed_bytes;
    struct record rec = { .type = (enum record_type)type };
    if (shape->item_bytes == 0 ? rest != 0 : rest % shape->item_bytes != 0)
        return STATUS(CORRUPT);
    rec.items = shape->item_bytes == 0 ? 0 : rest / shape->item_bytes;
    if (rec.items > shape->items_max)
        return STATUS(CORRUPT);
    rec.raw_items = const_span_sub(*payload, shape->fixed_bytes, rest);
    TRY(decode_body(payload->at, &rec));
    *payload = const_span_sub(*payload, bytes, payload->bytes - bytes);
    *out_rec = rec;
    return STATUS(OK);
}

uint32_t record_get_crc(const struct record *rec, uint32_t item)
{
    struct le32 f;

    memcpy(&f, const_span_sub(rec->raw_items, item * sizeof f, sizeof f).at, sizeof f);
    return le32_get(f);
}

struct record_grains_item record_get_grains(const struct record *rec, uint32_t item)
{
    struct record_grains_item_format f;

    memcpy(&f, const_span_sub(rec->raw_items, item * sizeof f, sizeof f).at, sizeof f);
    return (struct record_grains_item) { .grain = le32_get(f.grain),
                                         .count = le32_get(f.count),
                                         .place = le32_get(f.place),
                                         .data = le32_get(f.data),
                                         .zero = le32_get(f.zero) };
}

struct record_cells_item record_get_cell(const struct record *rec, uint32_t item)
{
    struct record_cells_item_format f;

    memcpy(&f, const_span_sub(rec->raw_items, item * sizeof f, sizeof f).at, sizeof f);
    return (struct record_cells_item) {
        .grain = le32_get(f.grain), .address = le32_get(f.address), .cell = f.cell, .data = f.data
    };
}

struct record_intent_item record_get_intent(const struct record *rec, uint32_t item)
{
    struct record_intent_item_format f;

    memcpy(&f, const_span_sub(rec->raw_items, item * sizeof f, sizeof f).at, sizeof f);
    return (struct record_intent_item) { .shard = le32_get(f.shard), .region = le32_get(f.region) };
}

struct record_regions_item record_get_regions(const struct record *rec, uint32_t item)
{
    struct record_regions_item_format f;

    memcpy(&f, const_span_sub(rec->raw_items, item * sizeof f, sizeof f).at, sizeof f);
    return (struct record_regions_item) { .shard = le32_get(f.shard),
                                          .region = le32_get(f.region),
                                          .count = le32_get(f.count),
                                          .slots = f.slots };
}

struct record_spoil_item record_get_spoil(const struct record *rec, uint32_t item)
{
    struct record_spoil_item_format f;

    memcpy(&f, const_span_sub(rec->raw_items, item * sizeof f, sizeof f).at, sizeof f);
    return (struct record_spoil_item) { .grain = le32_get(f.grain), .blocks = le32_get(f.blocks) };
}
