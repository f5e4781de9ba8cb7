/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks a discovery controller which subsystems there are: connects, reads the discovery log,
 * disconnects.
 *
 * NVM Express Base Specification 2.0c, "Discovery Log Page": the log is read again if its
 * generation counter changed while it was being read.
 *
 * Threading: one reactor.   Memory: allocates when created, and for the records.
 */
#ifndef NVME_INITIATOR_DISCOVERY_H
#define NVME_INITIATOR_DISCOVERY_H

#include "nvme/initiator.h"

/* One record: a way to a subsystem.  Texts are printable ASCII. */
struct initiator_discovery_record {
    uint8_t subtype; /* NVME_SUBTYPE_*. */
    uint16_t port_id;
    uint16_t cntlid;
    bool is_tcp; /* addr is valid. */
    struct io_addr addr;
    struct nqn_text subsystem_nqn;
};

/* More records than this are not read: a log of 1 MiB. */
#define INITIATOR_DISCOVERY_RECORDS_MAX 1024

struct initiator_discovery;

struct initiator_discovery_config {
    void *ctx;
    struct reactor *reactor;
    struct initiator_endpoint endpoint; /* subsystem_nqn is set to NQN_DISCOVERY. */
    struct log *log;                    /* Borrowed. */
    /*
     * Called once.  With OK the records are valid until initiator_discovery_destroy(), which
     * may be called in here.  CONFLICT: the log changed each time it was read.  LIMIT: it has
     * more than INITIATOR_DISCOVERY_RECORDS_MAX records.
     */
    void (*done)(struct initiator_discovery *d, struct status st,
                 const struct initiator_discovery_record *records, unsigned count);
};

struct status initiator_discovery_create(const struct initiator_discovery_config *config,
                                         struct initiator_discovery **out_discovery) MUST_CHECK;

void initiator_discovery_start(struct initiator_discovery *d);

/* Never started, or done.  NULL is allowed. */
void initiator_discovery_destroy(struct initiator_discovery *d);

void *initiator_discovery_ctx(const struct initiator_discovery *d);

#endif
