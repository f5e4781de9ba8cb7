/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the table of docs/placement.md: what simultaneous failures of nodes lose in a few
 * clusters, beside random placement.  With the name of a file, each line must stand in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_gen.h"
#include "ctl/loss.h"
#include "ctl/spread.h"

#define VOLUMES 100u
#define SHARDS  128u /* Of each volume: 12,800 in all. */

struct row {
    uint32_t nodes, zones, replicas, scatter;
};

static const struct row rows[] = {
    { 4, 0, 2, 0 },  { 12, 0, 2, 0 }, { 24, 0, 2, 0 },  { 6, 0, 3, 0 },  { 12, 0, 3, 0 },
    { 12, 3, 3, 0 }, { 24, 0, 3, 0 }, { 24, 3, 3, 0 },  { 24, 6, 3, 0 }, { 48, 0, 3, 0 },
    { 64, 0, 3, 4 }, { 64, 0, 3, 0 }, { 64, 0, 3, 12 }, { 64, 4, 3, 0 },
};

/* Volumes are made one after another, as spread_plan() would. */
static int fill(struct cluster_gen *g, struct rng *rng, const struct row *row, struct loss_map *map)
{
    static uint32_t disks[SHARDS * CTL_REPLICAS_MAX];
    static struct copysets all, sets;
    const uint64_t nodes = cluster_nodes(&g->cluster);
    const struct placement_shape shape = { GIB, SHARDS, 8 };

    if (!status_ok(copysets_build(&g->cluster, nodes, row->replicas, row->scatter, &all)))
        return 0;
    for (uint32_t v = 0; v < VOLUMES; v++) {
        struct stride_request r = { .planned_bytes = GIB * SHARDS * row->replicas };
        rng_fill(rng, (struct span) { r.volume.b, sizeof r.volume.b });
        stride_choose(&g->cluster, &all, nodes, &r, &sets);
        spread_shards(&g->cluster, &sets, &shape, CTL_TUPLES_MAX, disks);
        for (uint32_t i = 0; i < SHARDS; i++) {
            uint64_t tuple = 0;
            for (uint32_t slot = 0; slot < row->replicas; slot++)
                tuple |= node_bit(disks[i * row->replicas + slot] / 4); /* Four disks a node. */
            loss_map_add(map, tuple, 1);
        }
    }
    return 1;
}

static void percent(char *out, size_t bytes, double probability)
{
    const double p = probability * 100;
    if (p < 10)
        snprintf(out, bytes, "%.2f%%", p);
    else if (p > 99 && p < 99.95)
        snprintf(out, bytes, "%.1f%%", p);
    else
        snprintf(out, bytes, "%.0f%%", p);
}

/* "5.45% / 100%: 1067 / 58 shards"; a range if it is not exact. */
static void failures(char *out, size_t bytes, const struct loss_map *map, uint32_t k)
{
    char placed[32], random[32];
    const struct loss_report r = loss_report(map, k);

    percent(placed, sizeof placed, r.placed.probability);
    percent(random, sizeof random, r.random.probability);
    snprintf(out, bytes, "%s%s / %s (%.0f / %.0f)", r.exact ? "" : "~", placed, random,
             r.placed.shards, r.random.shards);
}

static void line(const struct row *row, char *out, size_t bytes)
{
    static struct cluster_gen g;
    static struct loss_map map;
    struct rng rng;
    char equal[80], more[80];

    rng_init(&rng, 1);
    cluster_make(&g, &rng, (struct cluster_shape) { row->nodes, row->zones, 0, 4, 16384 * GIB });
    loss_map_init(&map, &g.cluster);
    if (!fill(&g, &rng, row, &map))
        abort();
    failures(equal, sizeof equal, &map, row->replicas);
    failures(more, sizeof more, &map, row->replicas + 1);
    char zones[16] = "-";
    if (row->zones > 0)
        snprintf(zones, sizeof zones, "%u", row->zones);
    snprintf(out, bytes, "| %u | %s | %u | %u | %u | %s | %s |", row->nodes, zones, row->replicas,
             row->scatter > 0 ? row->scatter : copyset_scatter(row->replicas),
             loss_map_tuples(&map), equal, more);
}

static char *file_text(const char *path)
{
    static char text[1 << 18];
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return NULL;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

int main(int argc, char **argv)
{
    const char *text = argc > 1 ? file_text(argv[1]) : NULL;
    int missing = argc > 1 && text == NULL;

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char out[256];
        line(&rows[i], out, sizeof out);
        puts(out);
        if (text != NULL && strstr(text, out) == NULL)
            missing = 1;
    }
    if (missing)
        fprintf(stderr, "%s: not all of these lines are in it\n", argv[1]);
    return missing;
}
