/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliberate bugs that the simulator must be able to catch; each breaks a rule.
 *
 *     if (all_durable || MUTATION(S1_FLUSH_EARLY))
 *         flush_complete(...);
 *
 * In every build but the simulator's own (TRILITH_MUTATIONS), MUTATION() is the constant 0 and
 * the compiler drops it.  tests/sim proves for each entry that some seed finds it.
 */
#ifndef BASE_MUTATION_H
#define BASE_MUTATION_H

/* X(name, the rule it breaks, what it does). */
#define MUTATION_TABLE(X)                                                                       \
    X(W1_LENGTH_UNCHECKED, "W1", "a PDU's length is not checked against its limit")             \
    X(W2_HALF_OPEN_KEPT, "W2", "a connection that never becomes a queue is kept")               \
    X(W3_NO_DRAIN, "W3", "a host's new association does not wait for the old one")              \
    X(S1_FLUSH_CLEAN_LEG, "S1", "the engine takes every disk for flushed, and asks none")       \
    X(S1_SENT_IS_HEARD, "S1", "a loss counts as told when the answer is sent")                  \
    X(R8_PARTS_TOGETHER, "R8", "writes of parts of one block do not wait for each other")       \
    X(R8_OVERLAP, "R8", "commands that overlap are let through to the store together")          \
    X(R8_COPY_SOURCE, "R8", "a Copy reads its source without a place in the order")             \
    X(S1_FLUSH_EARLY, "S1", "Flush completes before the device was flushed")                    \
    X(S1_MARK_NOT_DURABLE, "S1", "a command does not wait until its volume is marked busy")     \
    X(S2_OVERWRITE_UNSETTLED, "S2", "a block is overwritten before its first touch is settled") \
    X(S3_UNVERIFIED_READ, "S3", "a block is read without checking its checksum")                \
    X(S3_EVICT_CHANGED, "S3", "changed checksums are forgotten before they are written")        \
    X(S3_LOAD_FORGETS, "S3", "the checksum table undoes what changed while it was read")        \
    X(S4_STALE_SESSION, "S4", "a command of an older session is carried out")                   \
    X(S5_CONFIRMED_EARLY, "S5", "a session is confirmed before its volume is described")        \
    X(S6_FULL_REFUSES_ALL, "S6", "a full disk refuses overwrites too")                          \
    X(S7_NO_ADOPTION, "S7", "a suspect block is not adopted")                                   \
    X(S8_NEWEST_LAYER, "S8", "a write goes to the newest layer, not to its own")                \
    X(J1_ADOPT_FIRST_TOUCH, "J1", "a first touch that was lost is adopted")                     \
    X(J2_REUSE_EARLY, "J2", "a freed place is reused before its record is durable")             \
    X(S1_GROWN_EARLY, "S1", "new space is used before the superblock names it")                 \
    X(S3_TABLE_IS_SPACE, "S3", "cells of an extension are given to grains")                     \
    X(S1_CELL_FORGOTTEN, "S1", "a checkpoint leaves out grains whose cells are scattered")      \
    X(S1_FAILED_GOES_ON, "S1", "a disk that has failed takes commands again")                   \
    X(J1_NOT_TAKEN_BACK, "J1", "a first touch whose data failed is not taken back")             \
    X(T1_REAL_CLOCK, "T1", "the simulator looks at the real clock")                             \
    X(J3_TAIL_IS_DAMAGE, "J3", "a hole in the unflushed tail is taken for damage")              \
    X(V1_GROWTH_WIDENS, "V1", "a volume that grows widens its last group")                      \
    X(ACK_BEFORE_COMMIT, "R2", "a write without a member ends before that is committed")        \
    X(NO_COMPARE, "R2", "a record is changed whatever it is by then")                           \
    X(BASE_NOT_RECORDED, "R6", "what the members have when all lost power is not recorded")     \
    X(NO_SETTLE, "R9", "a new engine settles nothing")                                          \
    X(LIST_VOLATILE, "R9", "an overwrite does not wait for its region to be listed durably")    \
    X(LOSS_NOT_RECORDED, "R6", "what was given up is not recorded as a loss")                   \
    X(CHANGED_IS_SOURCE, "R6", "who has lost power is a source like others")                    \
    X(READ_OUT, "R2", "a replica that is out is read for a host")                               \
    X(CLOSE_FORGETS_AWAY, "R9", "a region is closed for those who are out, too")                \
    X(MISSED_IGNORED, "R4", "a resync does not look at what members list for the replica")      \
    X(EXCESS_KEPT, "R4", "a resync does not look at what the replica itself lists")             \
    X(EXCLUDE_BLINDLY, "R6", "who would remain is not asked whether it is alive")               \
    X(ADMIT_NOT_JOINT, "R1", "acknowledgements do not wait for who is being admitted")          \
    X(POWER_CYCLED_IN_SYNC, "R6", "who has lost power and is back soon counts as before")       \
    X(SEAL_NO_DRAIN, "S4", "a seal is answered while older commands execute")                   \
    X(READ_NO_LEASE, "R7", "a read completes whatever has become of the leases")                \
    X(COPY_OUTSIDE_ORDER, "R10", "a copy has no place in the overlap order")                    \
    X(POINTS_IGNORED, "F8", "a disk that has lost what it had confirmed does not say so")       \
    X(ADMIT_WITHOUT_POINT, "F8", "a replica is admitted, and nobody knows how far it reaches")  \
    X(FULL_IS_EXCLUDED, "R1", "who is full is excluded, whoever remains")                       \
    X(FULL_NOT_UNDONE, "R4", "what a full member refuses is not taken back from the others")    \
    X(EPOCH_NOT_TAKEN, "R3", "an engine serves with the epoch that it finds")                   \
    X(EQUAL_IS_COPIED, "R4", "a resync copies what the replica has as well")

enum mutation {
    MUTATION_NONE,
#define MUTATION_ENUM(name, rule, text) MUTATION_##name,
    MUTATION_TABLE(MUTATION_ENUM)
#undef MUTATION_ENUM
        MUTATION_COUNT
};

#ifdef TRILITH_MUTATIONS
extern enum mutation mutation_active; /* Defined and set by the simulator's main(). */
#define MUTATION(name) __builtin_expect(mutation_active == MUTATION_##name, 0)
#else
#define MUTATION(name) 0
#endif

#endif
