/* SPDX-License-Identifier: Apache-2.0 */
#include "io/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/op.h"

#define BLOCK      4096
#define DISK_BYTES ((uint64_t)1 << 20)
#define WRITES     16

/* A process that writes WRITES blocks at once, some of them flushed, and stays. */
struct writer {
    struct sim_process *process;
    struct io_op ops[WRITES];
    struct io_op sync;
    unsigned completed;
    bool synced;
    bool ended;
    int fd;
    _Alignas(BLOCK) uint8_t data[WRITES][BLOCK];
};

static struct writer writer;

static void writer_on_sync(struct io_op *op)
{
    CONTAINER_OF(op, struct writer, sync)->synced = op->result == 0;
}

static void writer_on_write(struct io_op *op)
{
    assert_int_equal(op->result, BLOCK);
    writer.completed++;
}

static void writer_main(struct sim_process *p, void *ctx)
{
    struct writer *const self = ctx;
    struct reactor *const r = sim_process_reactor(p, 0);
    const unsigned flags = IO_OPEN_WRITE | IO_OPEN_DIRECT | IO_OPEN_LOCK;
    assert_true(status_ok(io_file_open(r, "/d", flags, 0, &self->fd, NULL)));
    for (unsigned i = 0; i < WRITES; i++) {
        memset(self->data[i], (int)i + 1, BLOCK);
        io_op_write(&self->ops[i], r, self->fd, (struct const_span) { self->data[i], BLOCK },
                    i * BLOCK, 0, writer_on_write);
    }
}

static void writer_ended(struct sim_process *p, enum sim_exit how, void *ctx)
{
    (void)p;
    assert_int_not_equal(how, SIM_EXIT_STOPPED);
    ((struct writer *)ctx)->ended = true;
}

static struct sim_world *world_with_writer(uint64_t seed, const struct sim_disk_config *config)
{
    const struct sim_config world_config = { .seed = seed };
    struct sim_world *const w = sim_world_create(&world_config);
    struct sim_machine *const m = sim_machine_create(w, "a");
    const struct sim_program program = {
        .name = "writer", .reactors = 1, .main = writer_main, .ended = writer_ended, .ctx = &writer
    };
    sim_disk_create(m, "/d", config);
    memset(&writer, 0, sizeof writer);
    writer.process = sim_spawn(m, &program);
    return w;
}

static struct sim_disk *disk(void)
{
    return sim_disk_find(sim_process_machine(writer.process), "/d");
}

/* How many of the blocks are on the disk; none is a mix. */
static unsigned blocks_there(void)
{
    uint8_t block[BLOCK];
    unsigned there = 0;
    for (unsigned i = 0; i < WRITES; i++) {
        sim_disk_peek(disk(), i * BLOCK, (struct span) { block, BLOCK });
        assert_true(block[0] == 0 || block[0] == i + 1);
        assert_memory_equal(block, block + 1, BLOCK - 1);
        there += block[0] != 0;
    }
    return there;
}

static const struct sim_disk_config volatile_disk = {
    .bytes = DISK_BYTES, .align_bytes = 4096, .atomic_bytes = 4096, .volatile_cache = true
};

/* T1: the same seed gives the same trace, another seed another one. */
static void seeds_decide(void **state)
{
    (void)state;
    uint64_t hashes[3];
    for (unsigned i = 0; i < 3; i++) {
        struct sim_world *const w = world_with_writer(i / 2, &volatile_disk);
        sim_world_run(w, NS_PER_S);
        assert_int_equal(writer.completed, WRITES);
        hashes[i] = sim_world_trace_hash(w);
        sim_world_destroy(w);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
}

/* F5: what completed survives the death of the process; what was in flight may, or may not. */
static void kill_keeps_completed(void **state)
{
    (void)state;
    bool some_lost = false;
    bool some_kept = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct sim_world *const w = world_with_writer(seed, &volatile_disk);
        sim_world_run(w, 60 * NS_PER_US);
        sim_process_kill(writer.process);
        assert_true(writer.ended);
        const unsigned there = blocks_there();
        assert_true(there >= writer.completed);
        some_lost |= there < WRITES;
        some_kept |= there > writer.completed;
        sim_world_destroy(w);
    }
    assert_true(some_lost);
    assert_true(some_kept);
}

/* F8, F9: a power loss takes any of the unflushed writes, and none where there is no cache. */
static void power_takes_unflushed(void **state)
{
    (void)state;
    unsigned least = WRITES;
    unsigned most = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct sim_disk_config config = volatile_disk;
        config.volatile_cache = seed % 2 == 0;
        struct sim_world *const w = world_with_writer(seed, &config);
        sim_world_run(w, NS_PER_S);
        sim_machine_power_off(sim_process_machine(writer.process));
        assert_true(writer.ended);
        const unsigned there = blocks_there();
        if (!config.volatile_cache)
            assert_int_equal(there, WRITES);
        least = there < least ? there : least;
        most = config.volatile_cache && there > most ? there : most;
        sim_world_destroy(w);
    }
    assert_int_equal(least, 0);
    assert_true(most > WRITES / 2);
}

/* F8: what was flushed stays. */
static void power_keeps_flushed(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sim_world *const w = world_with_writer(seed, &volatile_disk);
        sim_world_run(w, NS_PER_S);
        io_op_fsync(&writer.sync, sim_process_reactor(writer.process, 0), writer.fd,
                    writer_on_sync);
        sim_world_run(w, NS_PER_S);
        assert_true(writer.synced);
        sim_machine_power_off(sim_process_machine(writer.process));
        assert_int_equal(blocks_there(), WRITES);
        sim_world_destroy(w);
    }
}

/* The disk's size after a power loss: it was made larger, and, if flush, flushed since. */
static uint64_t size_after_growth(uint64_t seed, bool is_device, bool flush)
{
    struct sim_disk_config config = volatile_disk;
    config.is_block_device = is_device;
    struct sim_world *const w = world_with_writer(seed, &config);
    sim_world_run(w, NS_PER_S);
    sim_disk_grow(disk(), 4 * DISK_BYTES);
    assert_int_equal(sim_disk_config(disk())->bytes, 4 * DISK_BYTES);
    if (flush)
        io_op_fsync(&writer.sync, sim_process_reactor(writer.process, 0), writer.fd,
                    writer_on_sync);
    sim_world_run(w, NS_PER_S);
    struct sim_machine *const m = sim_process_machine(writer.process);
    sim_machine_power_off(m);
    const uint64_t bytes = sim_disk_config(sim_disk_find(m, "/d"))->bytes;
    sim_world_destroy(w);
    return bytes;
}

/* F25: power may take a file's new size back, but not once it was flushed, and never a device's. */
static void power_takes_unflushed_size(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        const uint64_t bytes = size_after_growth(seed, false, false);
        assert_true(bytes == DISK_BYTES || bytes == 4 * DISK_BYTES);
        lost += bytes == DISK_BYTES;
        assert_int_equal(size_after_growth(seed, false, true), 4 * DISK_BYTES);
        assert_int_equal(size_after_growth(seed, true, false), 4 * DISK_BYTES);
    }
    assert_true(lost > 0 && lost < 20);
}

/* A disk that lies may lose what was flushed: the model has its exceptions, and they show. */
static void liar_loses_flushed(void **state)
{
    (void)state;
    unsigned least = WRITES;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sim_disk_config config = volatile_disk;
        config.liar = true;
        struct sim_world *const w = world_with_writer(seed, &config);
        sim_world_run(w, NS_PER_S);
        io_op_fsync(&writer.sync, sim_process_reactor(writer.process, 0), writer.fd,
                    writer_on_sync);
        sim_world_run(w, NS_PER_S);
        sim_machine_power_off(sim_process_machine(writer.process));
        const unsigned there = blocks_there();
        least = there < least ? there : least;
        sim_world_destroy(w);
    }
    assert_int_equal(least, 0);
}

/* F10: with units of 512 bytes a block may be torn at 512 bytes, and nowhere else. */
static void torn_at_units(void **state)
{
    (void)state;
    const struct sim_disk_config config = {
        .bytes = DISK_BYTES, .align_bytes = 512, .atomic_bytes = 512, .volatile_cache = true
    };
    bool torn = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sim_world *const w = world_with_writer(seed, &config);
        sim_world_run(w, NS_PER_S);
        sim_machine_power_off(sim_process_machine(writer.process));
        uint8_t block[BLOCK];
        for (unsigned i = 0; i < WRITES; i++) {
            sim_disk_peek(disk(), i * BLOCK, (struct span) { block, BLOCK });
            for (unsigned at = 0; at < BLOCK; at += 512) {
                assert_memory_equal(block + at, block + at + 1, 511);
                torn |= block[at] != block[0];
            }
        }
        sim_world_destroy(w);
    }
    assert_true(torn);
}

/* F14: rot changes the block that was named, on the medium too. */
static void rot_stays(void **state)
{
    (void)state;
    uint8_t before[BLOCK];
    uint8_t after[BLOCK];
    struct sim_world *const w = world_with_writer(7, &volatile_disk);
    sim_world_run(w, NS_PER_S);
    sim_disk_peek(disk(), 3 * BLOCK, (struct span) { before, BLOCK });
    sim_disk_rot(disk(), 3 * BLOCK);
    sim_disk_peek(disk(), 3 * BLOCK, (struct span) { after, BLOCK });
    assert_memory_not_equal(before, after, BLOCK);
    sim_disk_peek(disk(), 4 * BLOCK, (struct span) { after, BLOCK });
    assert_memory_not_equal(before, after, BLOCK);
    assert_memory_equal(after, writer.data[4], BLOCK);
    sim_world_destroy(w);
}

/* F6: each boot has another identity, and its clock starts anew. */
static void boots_differ(void **state)
{
    (void)state;
    const struct sim_config config = { .seed = 1 };
    struct sim_world *const w = sim_world_create(&config);
    struct sim_machine *const m = sim_machine_create(w, "a");
    struct reactor *const first = sim_reactor_create(m, 0);
    const struct uuid boot = reactor_boot_id(first);
    sim_world_run(w, 5 * NS_PER_S);
    assert_true(reactor_clock_ns(first) >= 5 * NS_PER_S);
    sim_machine_power_off(m);
    sim_machine_power_on(m);
    struct reactor *const second = sim_reactor_create(m, 0);
    assert_false(uuid_equal(boot, reactor_boot_id(second)));
    assert_true(reactor_clock_ns(second) < 2 * NS_PER_S);
    sim_world_destroy(w);
}

/* F4: what a process had only prepared in the turn of its death never happens. */
static void death_within_a_turn(void **state)
{
    (void)state;
    struct sim_world *const w = world_with_writer(3, &volatile_disk);
    sim_process_crash_after(writer.process, 0, false);
    sim_world_run(w, NS_PER_S);
    assert_true(writer.ended);
    assert_int_equal(sim_disk_stats(disk()).writes, 0);
    assert_int_equal(blocks_there(), 0);
    sim_world_destroy(w);
}

/* F2: a paused process runs no turn; it goes on when it is resumed. */
static void pause_stops_turns(void **state)
{
    (void)state;
    struct sim_world *const w = world_with_writer(5, &volatile_disk);
    sim_process_pause(writer.process);
    sim_world_run(w, NS_PER_S);
    assert_int_equal(writer.completed, 0);
    sim_process_resume(writer.process);
    sim_world_run(w, NS_PER_S);
    assert_int_equal(writer.completed, WRITES);
    sim_world_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_decide),
        cmocka_unit_test(kill_keeps_completed),
        cmocka_unit_test(power_takes_unflushed),
        cmocka_unit_test(power_keeps_flushed),
        cmocka_unit_test(power_takes_unflushed_size),
        cmocka_unit_test(liar_loses_flushed),
        cmocka_unit_test(torn_at_units),
        cmocka_unit_test(rot_stays),
        cmocka_unit_test(boots_differ),
        cmocka_unit_test(death_within_a_turn),
        cmocka_unit_test(pause_stops_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
