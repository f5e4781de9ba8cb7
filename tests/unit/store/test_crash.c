/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random workload, then a crash before an event of the device, of the power or of the process,
 * with unflushed writes lost, kept or mixed; every block must then hold a value that S1 and S2
 * allow.  Of one workload of each test it is each event in turn, of the others each seventh, from
 * another one on; more on request:
 *
 *     CRASH_SEEDS=100 CRASH_STRIDE=1 store_crash
 *
 * `make check` runs it with CRASH_STRIDE=1.
 */
#include "store/store.h"

#include <stdio.h>

#define RIG_CONTENT_BYTES GROWN_BYTES
#define GROWN_BYTES       ((uint64_t)32 << 20)
#define GROW_OPS          8 /* That come before its superblock is written. */

#include "base/mutation.h"
#include "rig_case.h"

#define BLOCKS       96 /* Of shard 0: three grains; a write may touch all of them. */
#define OPS_MAX      400
#define IN_FLIGHT    4
#define WRITE_BLOCKS 6
#define CRASH_SEEDS  6
#define SHARD_BYTES  ((uint64_t)4 << 20)
#define VOLUME_BYTES ((uint64_t)256 << 20) /* More grains than the disk has cells. */
#define CRASH_STRIDE 7   /* Of all but one workload: each event costs ten milliseconds with ASan. */
#define SPOILED      256 /* A block that cannot be read (F40). */

/* One command of the workload, and what it does to its blocks. */
struct op {
    enum store_opcode opcode;
    uint64_t first;
    uint64_t count;
    unsigned fill; /* What its blocks hold afterwards, or SPOILED. */
    bool fua;
    size_t started;
    size_t ended; /* SIZE_MAX: never, or with a failure. */
};

struct history {
    struct op ops[OPS_MAX];
    size_t count;
    size_t grow_at;   /* The disk grows when there are so many; above OPS_MAX: never. */
    size_t grow_from; /* Event indexes. */
    size_t grow_to;
};

struct slot {
    struct rig_io io;
    struct op *op;
};

static bool overlaps(const struct slot *slots, uint64_t first, uint64_t count)
{
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        const struct op *const o = slots[i].op;
        if (o != NULL && o->first < first + count && first < o->first + o->count)
            return true;
    }
    return false;
}

static void collect(struct slot *slots)
{
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        struct slot *const s = &slots[i];
        if (s->op == NULL || !s->io.done)
            continue;
        const struct status st = s->io.io.status;
        /* Zeroing a shard that no write has made yet; writing on a full disk: nothing happens. */
        if (!status_ok(st)) {
            assert(status_is(st, STATUS_UNKNOWN_SHARD) || status_is(st, STATUS_NO_SPACE));
            s->op->count = 0;
        }
        s->op->ended = s->io.ended;
        free(s->io.data);
        s->op = NULL;
    }
}

static bool all_idle(const struct slot *slots)
{
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        if (slots[i].op != NULL)
            return false;
    }
    return true;
}

static struct op choose(const struct history *h, struct rng *rng)
{
    const uint64_t kind = rng_below(rng, 10);
    struct op o = { .opcode = STORE_OP_WRITE,
                    .first = rng_below(rng, BLOCKS - WRITE_BLOCKS),
                    .count = 1 + rng_below(rng, WRITE_BLOCKS),
                    .fill = (uint8_t)(h->count % 255 + 1),
                    .fua = rng_one_in(rng, 8) };

    if (kind == 0)
        return (struct op) { .opcode = STORE_OP_FLUSH };
    if (kind == 1) {
        o.opcode = rng_one_in(rng, 2) ? STORE_OP_WRITE_ZEROES : STORE_OP_DEALLOCATE;
        o.count = min_u64(1 + rng_below(rng, 40), BLOCKS - o.first);
        if (rng_one_in(rng, 2)) {
            o.first = o.first / 32 * 32; /* A whole grain: its place is freed. */
            o.count = 32;
        }
        o.fill = 0;
    }
    if (kind == 2) {
        o.opcode = STORE_OP_SPOIL;
        o.count = min_u64(1 + rng_below(rng, 40), BLOCKS - o.first);
        o.fill = SPOILED;
        o.fua = true; /* When it completes, it is durable. */
    }
    return o;
}

static void start(struct rig *rig, struct history *h, struct slot *s, const struct op *op)
{
    struct op *const o = &h->ops[h->count++];

    *o = *op;
    o->ended = SIZE_MAX;
    s->op = o;
    rig_submit(rig, &s->io, o->opcode, o->first * 4096, o->count * 4096, (uint8_t)o->fill);
    s->io.io.fua = o->fua;
    o->started = s->io.started;
}

/* Runs the workload; commands that share a block are never under way together. */
static void run_workload(struct rig *rig, struct history *h, struct rng *rng, unsigned ops)
{
    struct slot *const slots = calloc(IN_FLIGHT, sizeof *slots);

    while (h->count < ops) {
        if (h->count >= h->grow_at && rig->bytes < GROWN_BYTES) {
            h->grow_from = rig->event_count;
            rig->hold_below = 4096; /* Its superblock takes long: commands come meanwhile. */
            rig_grow_start(rig, GROWN_BYTES);
        }
        if (rig->grown_done && h->grow_to == 0)
            h->grow_to = rig->event_count;
        if (h->count >= h->grow_at + GROW_OPS)
            rig->hold_below = 0;
        struct slot *const s = &slots[rng_below(rng, IN_FLIGHT)];
        if (all_idle(slots) && rng_one_in(rng, 8)) {
            /* The settle timer fires, or regions close through a checkpoint. */
            rig_pass(rig, rng_one_in(rng, 3) ? 31 * NS_PER_S : 30 * NS_PER_MS);
        } else if (s->op == NULL) {
            struct op o = choose(h, rng);
            if (!overlaps(slots, o.first, o.count))
                start(rig, h, s, &o);
        }
        for (uint64_t turns = rng_below(rng, 6); turns > 0; turns--)
            (void)rig_turn(rig);
        if (!rig_turn(rig) && !all_idle(slots))
            rig_pass(rig, 10 * NS_PER_MS);
        collect(slots);
    }
    rig->hold_below = 0;
    while (!all_idle(slots)) {
        if (!rig_turn(rig))
            rig_pass(rig, 10 * NS_PER_MS);
        collect(slots);
    }
    free(slots);
}

static bool covers(const struct op *o, uint64_t block)
{
    return o->opcode != STORE_OP_FLUSH && o->first <= block && block < o->first + o->count;
}

/* Whether the op's effect must be there after a crash before event index. */
static bool is_promised(const struct history *h, const struct op *o, size_t index, bool power)
{
    if (o->ended > index)
        return false;
    if (!power || o->fua)
        return true;
    for (size_t i = 0; i < h->count; i++) {
        const struct op *const f = &h->ops[i];
        if (f->opcode == STORE_OP_FLUSH && f->started >= o->ended && f->ended <= index)
            return true;
    }
    return false;
}

static bool is_allowed(const struct history *h, uint64_t block, unsigned fill, size_t index,
                       bool power)
{
    bool allowed = fill == 0; /* Never written. */

    for (size_t i = 0; i < h->count; i++) {
        const struct op *const o = &h->ops[i];
        if (!covers(o, block) || o->started > index)
            continue;
        if (is_promised(h, o, index, power))
            allowed = false; /* Nothing older than this. */
        if (o->fill == fill)
            allowed = true;
    }
    return allowed;
}

/* F1 to F8 hold right after the crash, and after the recovery. */
static void check_at_rest(struct rig *rig, size_t index)
{
    struct rig_check c;

    assert_true(status_ok(rig_check(rig, &c)));
    if (c.report.problems > 0)
        fail_msg("event %zu: check: %s", index, c.first);
}

static void check_image(struct history *h, uint8_t *image, size_t index, bool power, uint64_t seed)
{
    struct rig after;

    rig_init(&after, image, seed);
    after.volume_bytes = VOLUME_BYTES;
    rig_set_bytes(&after, h->grow_at > OPS_MAX ? RIG_DEVICE_BYTES : GROWN_BYTES);
    after.boot.b[0] = power ? 2 : 1;
    check_at_rest(&after, index);
    const struct status opened = rig_open(&after);
    if (!status_ok(opened))
        fail_msg("event %zu, power %d: %s", index, power, after.opened.problem);
    assert_true(status_ok(rig_session(&after, 1)));
    assert_int_equal(after.session.incarnation >> 32, power ? 2 : 1);
    if (after.session.unflushed_loss && !power)
        fail_msg("event %zu: the death of the process is told as a loss", index);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        struct status st;
        unsigned fill = rig_read_block(&after, block, &st);
        if (status_is(st, STATUS_MEDIA_READ))
            fill = SPOILED;
        if (!(status_ok(st) || fill == SPOILED) || !is_allowed(h, block, fill, index, power))
            fail_msg("event %zu, power %d, seed %d: block %d reads %d (%s)", index, power,
                     (int)seed, (int)block, fill, status_name(st));
        /* S1, F25: what even the death of the process would not explain is a loss. */
        if (power && !after.session.unflushed_loss && !is_allowed(h, block, fill, index, false))
            fail_msg("event %zu, seed %d: block %d has lost its value, and nobody is told", index,
                     (int)seed, (int)block);
    }
    store_session_close(after.session.session);
    assert_true(status_ok(rig_close_store(&after)));
    check_at_rest(&after, index);
    rig_abandon(&after);
}

/* One command at the beginning of a grain of the shards from 1 on. */
static struct status beside(struct rig *rig, enum store_opcode opcode, uint64_t grain,
                            uint64_t bytes)
{
    const uint64_t at = grain * STORE_GRAIN_BYTES;
    struct rig_io r;

    rig_submit(rig, &r, opcode, at % SHARD_BYTES, bytes, 0xff);
    r.io.shard = 1 + (uint32_t)(at / SHARD_BYTES);
    rig_io_wait(rig, &r);
    free(r.data);
    return r.io.status;
}

/* How the disk is when the workload begins. */
enum fill { FILL_NOT, FILL_GRAINS, FILL_CELLS };

/*
 * Fills the disk but for two grains, so that what is freed is used again at once; FILL_CELLS:
 * with grains of one cell, and the room of two is single cells apart from each other (F28).
 * Not even that much is left where it shall grow.
 */
static void fill_disk(struct rig *rig, enum fill fill, bool grow)
{
    const uint64_t bytes = fill == FILL_GRAINS ? STORE_GRAIN_BYTES : 4096;
    uint64_t grains = 0;

    while (status_ok(beside(rig, STORE_OP_WRITE, grains, bytes)))
        grains++;
    for (uint64_t i = 0; !grow && i < (fill == FILL_GRAINS ? 2 : 16); i++)
        (void)beside(rig, STORE_OP_DEALLOCATE, i * 3 % grains, bytes);
    rig_pass(rig, 100 * NS_PER_MS);
}

/* Crashes at every stride-th event of one workload. */
static void crash_everywhere(uint64_t seed, unsigned ops, size_t stride, enum fill fill,
                             uint32_t atomic_bytes, bool grow)
{
    struct history *const h = calloc(1, sizeof *h);
    uint8_t *const image = malloc(RIG_CONTENT_BYTES);
    struct rig rig;
    struct rng rng;

    rng_init(&rng, seed);
    rig_init(&rig, NULL, seed);
    rig.volume_bytes = VOLUME_BYTES;
    rig.dev.info.atomic_bytes = atomic_bytes;
    rig_begin(&rig);
    if (fill != FILL_NOT)
        fill_disk(&rig, fill, grow);
    h->grow_at = grow ? rng_below(&rng, ops / 2) : SIZE_MAX - GROW_OPS;
    rig_record(&rig);
    run_workload(&rig, h, &rng, ops);
    assert_true(!grow || (rig.grown_done && status_ok(rig.grown.status)));
    for (size_t index = seed % stride; index <= rig.event_count;) {
        const bool power = rng_one_in(&rng, 2);
        const uint64_t mode = rng_below(&rng, 6); /* 0 and 1 are all and nothing. */
        rig_image(&rig, index, power, mode, image);
        check_image(h, image, index, power, seed * 1000 + index);
        index += index >= h->grow_from && index < h->grow_to ? 1 : stride;
    }
    rig_abandon(&rig);
    free(image);
    free(h);
}

static uint64_t on_request(const char *name, uint64_t usual)
{
    const char *const wanted = getenv(name);
    return wanted != NULL ? strtoull(wanted, NULL, 10) : usual;
}

/* The workloads of a test: of the one of the seed whole no event is left out. */
static void crash_all(uint64_t whole, unsigned ops, const uint32_t atomic_bytes[2], bool grow)
{
    const uint64_t seeds = on_request("CRASH_SEEDS", CRASH_SEEDS);
    const uint64_t stride = on_request("CRASH_STRIDE", CRASH_STRIDE);

    for (uint64_t seed = 1; seed <= seeds; seed++)
        crash_everywhere(seed, ops, seed == whole ? 1 : stride, (enum fill)(seed % 3),
                         atomic_bytes[seed % 4 == 0 ? 1 : 0], grow);
}

/* S1, S2, J1 to J3, F9 to F31: after any crash each block holds an allowed value. */
static void every_crash_leaves_allowed_values(void **state)
{
    (void)state;
    crash_all(3, 60, (const uint32_t[]) { 4096, 4096 }, false);
}

/* S7, F21: the same on a disk that tears a block; nothing is ever adopted there. */
static void every_crash_of_a_512_byte_disk(void **state)
{
    (void)state;
    crash_all(1, 60, (const uint32_t[]) { 512, 512 }, false);
}

/* F33 to F35: the same while the disk, full or not, grows; what is found is the old one or the new.
 */
static void every_crash_around_a_growth(void **state)
{
    (void)state;
    crash_all(2, 40, (const uint32_t[]) { 4096, 512 }, true);
}

#ifdef TRILITH_MUTATIONS
/* Built with the deliberate bugs: MUTATION=J1_ADOPT_FIRST_TOUCH store_crash must fail. */
enum mutation mutation_active;

static void mutation_choose(void)
{
    const char *const name = getenv("MUTATION");

#define MUTATION_PICK(id, rule, text)           \
    if (name != NULL && strcmp(name, #id) == 0) \
        mutation_active = MUTATION_##id;
    MUTATION_TABLE(MUTATION_PICK)
#undef MUTATION_PICK
}
#else
static void mutation_choose(void)
{
}
#endif

int main(void)
{
    mutation_choose();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crash_leaves_allowed_values),
        cmocka_unit_test(every_crash_of_a_512_byte_disk),
        cmocka_unit_test(every_crash_around_a_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
