/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How probable it is that some shard is lost if k nodes are lost at the same moment, any k of them
 * with equal probability: as the replicas lie, and as they would if each shard's had been put on
 * nodes drawn at random.  (Both lose the same on average; copysets lose it in fewer, larger
 * losses.)
 *
 * All sets of k nodes are looked at, which is exact, or if these are more than LOSS_SETS_EXACT, so
 * many of them that are drawn.
 *
 * Threading: pure.   Memory: the caller's.
 */
#ifndef CTL_LOSS_H
#define CTL_LOSS_H

#include "ctl/domains.h"

/* All sets of one, two or three of 64 nodes. */
#define LOSS_TUPLES_MAX (64u + 64u * 63u / 2u + 64u * 63u * 62u / 6u)
static_assert(CTL_REPLICAS_MAX == 3 && CTL_NODES_MAX == 64, "LOSS_TUPLES_MAX is made for these");

/* More than so many failures say nothing new, and take long. */
#define LOSS_FAILURES_MAX 8u

/* Four of 64 nodes are 635,376. */
#define LOSS_SETS_EXACT (UINT64_C(1) << 20)

/* Where the shards of all volumes lie: about 350 KiB. */
struct loss_map {
    uint64_t nodes;                      /* That there are. */
    uint64_t totals[CTL_REPLICAS_MAX];   /* Shards with one, two and three replicas. */
    uint64_t shards[LOSS_TUPLES_MAX];    /* With replicas on exactly these nodes. */
    uint64_t allowed[CTL_REPLICAS_MAX];  /* Sets that random placement draws from. */
    uint8_t is_allowed[LOSS_TUPLES_MAX]; /* Which they are: those that are spread. */
};

/* A map without shards.  Random placement keeps to the failure domains as well. */
void loss_map_init(struct loss_map *map, const struct placement_cluster *cluster);

/* Adds shards whose replicas lie on these nodes, one to CTL_REPLICAS_MAX of them. */
void loss_map_add(struct loss_map *map, uint64_t nodes, uint64_t shards);

/* How many different sets of nodes hold shards. */
uint32_t loss_map_tuples(const struct loss_map *map);

struct loss_figures {
    double probability; /* That something is lost. */
    double shards;      /* How many, on average, if something is. */
};

struct loss_report {
    uint32_t failures;
    bool exact;
    struct loss_figures placed; /* As the replicas lie. */
    struct loss_figures random; /* As they would, on average over all that could be drawn. */
    /* The truth of placed.probability: equal to it if exact, else with a confidence of 99%. */
    double at_least;
    double at_most;
};

/* failures is 1 to LOSS_FAILURES_MAX, and no more than the nodes.  Takes about a second at most. */
struct loss_report loss_report(const struct loss_map *map, uint32_t failures);

#endif
