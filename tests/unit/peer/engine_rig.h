/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines' ends of links, made of the codec and the initiator, against a server over real stores.
 *
 *   engine (a machine each) --> th: target, 2 reactors --> server --> 2 disks, one on each reactor
 *
 * Threading: the test's thread; as the world's own code it stands in for any reactor.
 * Memory:    rig_create() and rig_destroy(); engines are the rig's.
 */
#ifndef TESTS_UNIT_PEER_ENGINE_RIG_H
#define TESTS_UNIT_PEER_ENGINE_RIG_H

#include "disk/dev_fault.h"
#include "nvme/initiator.h"
#include "peer/names.h"
#include "peer/server.h"
#include "store/wire.h"
#include "unit/nvme/target_harness.h"

#define RIG_DISKS      2
#define RIG_ENGINES    2
#define RIG_DISK_BYTES ((uint64_t)32 << 20)
#define MS             NS_PER_MS

struct rig_disk {
    struct dev *dev; /* With faults. */
    struct store *store;
    struct store_session_opened local; /* Of the last session of this node's own engine. */
    bool done;
    struct status status;
};

struct engine {
    struct rig *rig;
    struct reactor *reactor;
    struct initiator_ctrl *ctrl;
    struct initiator_queue *queues[2]; /* To one of the node's reactors each. */
    bool ready, ended, queue_ready, queue_ended[2];
    struct status why;
    struct log log;
    uint8_t node; /* First byte of its UUID. */
    /* The last session that was opened. */
    uint32_t handle;
    uint64_t epoch, number;
};

struct rig {
    struct th th;
    struct server *server;
    struct nvme_subsys *subsys;
    struct rig_disk disks[RIG_DISKS];
    struct engine engines[RIG_ENGINES];
    struct uuid denied;
    bool flag;
};

/* A command on its way. */
struct order {
    struct initiator_cmd cmd;
    struct wire_command command;
    uint8_t data[512 << 10]; /* All of it, in one row. */
    bool done;
    enum status_code code;
    struct wire_answer answer;
    uint64_t ended_ns;
};

/* A rig is big, and so are orders: they come from the heap. */
struct rig *rig_create(void);
void rig_destroy(struct rig *rig);

/* Lets an engine's node connect, with both queues, and be lost. */
void engine_connect(struct rig *rig, unsigned engine);
void engine_drop(struct engine *e);

struct order *order_make(const struct engine *e, enum wire_opcode opcode);
void order_send(struct engine *e, unsigned queue, struct order *o, uint32_t items);
void order_wait(struct engine *e, struct order *o);

/* Sends, waits, and returns the status; frees the order. */
enum status_code order_run(struct engine *e, unsigned queue, struct order *o, uint32_t items);

/* The description of a volume with so many replicas, by a number of the test's. */
struct store_volume rig_volume(uint8_t number, uint32_t replicas);

/* An OPEN of a volume on a disk; with what it ends, the engine has the session. */
struct order *open_order(struct engine *e, unsigned disk, const struct store_volume *volume,
                         uint64_t epoch, uint64_t number);
enum status_code engine_open(struct engine *e, unsigned disk, const struct store_volume *volume,
                             uint64_t epoch, uint64_t number);

/* A block of shard 0, full of a byte, with the engine's last session. */
struct order *write_order(const struct engine *e, uint32_t block, uint8_t fill, uint32_t flags);
enum status_code engine_write(struct engine *e, unsigned queue, uint32_t block, uint8_t fill);
enum status_code engine_read(struct engine *e, unsigned queue, uint32_t block, uint8_t *out_fill);
enum status_code engine_confirm(struct engine *e, unsigned queue, struct wire_answer *out_answer);

/* A session of this node's own engine. */
enum status_code local_open(struct rig *rig, unsigned disk, const struct store_volume *volume,
                            uint64_t epoch);

/* Device requests of these kinds (dev_fault.h) wait. */
void disk_hold(struct rig *rig, unsigned disk, unsigned kinds);
void disk_release(struct rig *rig, unsigned disk);

/* The stores' node. */
struct uuid rig_node(void);

uint64_t rig_now(const struct rig *rig);

#endif
