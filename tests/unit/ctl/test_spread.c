/* SPDX-License-Identifier: Apache-2.0 */
/* The promises P5 to P10 of docs/placement.md, in drawn clusters; and what is refused. */
#include "ctl/spread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cluster_gen.h"
#include "ctl/share.h"
#include "ctl/validate.h"

#define ROUNDS 400

struct scene {
    struct cluster_gen g;
    struct placement_disk before[CTL_DISKS_MAX];
    struct spread_request request;
    struct spread_result result;
    struct problem problem;
    uint32_t disks[CTL_SHARDS_MAX * CTL_REPLICAS_MAX];
};

static struct uuid draw_uuid(struct rng *rng)
{
    struct uuid uuid;
    rng_fill(rng, (struct span) { uuid.b, sizeof uuid.b });
    return uuid;
}

static void draw_request(struct scene *s, struct rng *rng)
{
    s->request = (struct spread_request) {
        .volume = draw_uuid(rng),
        .replicas = 1 + (uint32_t)rng_below(rng, CTL_REPLICAS_MAX),
        .shape = { .shard_bytes = GIB << rng_below(rng, 3),
                   .shard_count = 1 + (uint32_t)rng_below(rng, rng_one_in(rng, 10) ? 5000 : 300),
                   .stripe_width = 1 + (uint32_t)rng_below(rng, 20) },
        .stride_nodes = rng_one_in(rng, 2) ? 0 : 3 + (uint32_t)rng_below(rng, 6),
        .tuples_max = rng_one_in(rng, 2) ? 0 : 1 + (uint32_t)rng_below(rng, CTL_TUPLES_MAX),
        .apart = rng_one_in(rng, 3) ? DOMAIN_RACK : DOMAIN_NODE,
        .allow_degraded = rng_one_in(rng, 2),
    };
}

static struct status plan(struct scene *s)
{
    memcpy(s->before, s->g.disks, sizeof s->before);
    return spread_plan(&s->g.cluster, &s->request, s->disks, &s->result, &s->problem);
}

static uint32_t node_of(const struct scene *s, uint32_t disk)
{
    for (uint32_t i = 0; i < s->g.cluster.node_count; i++) {
        const struct placement_node *n = &s->g.nodes[i];
        if (disk >= n->first_disk && disk < n->first_disk + n->disk_count)
            return i;
    }
    fail_msg("disk %u is nobody's", disk);
    return 0;
}

static uint32_t disk_of(const struct scene *s, uint32_t shard, uint32_t slot)
{
    return s->disks[(size_t)shard * s->request.replicas + slot];
}

/* The nodes of a shard's replicas; with fewer bits than disks if two are on one node. */
static uint64_t nodes_of(const struct scene *s, uint32_t shard)
{
    uint64_t nodes = 0;
    for (uint32_t slot = 0; slot < s->result.replicas; slot++)
        nodes |= node_bit(node_of(s, disk_of(s, shard, slot)));
    return nodes;
}

/*
 * Draws until a plan was made, or refused for lack of nodes or domains, which is told only if
 * there is such a lack.
 */
static void draw_plan(struct scene *s, struct rng *rng, uint32_t nodes_max)
{
    for (;;) {
        cluster_draw(&s->g, rng, nodes_max);
        draw_request(s, rng);
        const struct status st = plan(s);
        if (status_ok(st))
            return;
        const uint64_t usable = cluster_usable(&s->g.cluster);
        const uint32_t have = cluster_differ(&s->g.cluster, s->request.apart, usable);
        assert_true(status_is(st, STATUS_NO_SPACE));
        assert_true(have < s->request.replicas && (have == 0 || !s->request.allow_degraded));
        assert_true(s->problem.s[0] != '\0');
        assert_memory_equal(s->before, s->g.disks, sizeof s->before);
    }
}

/*
 * P5: replicas lie on different usable nodes, and at each level in different domains as far as the
 * usable nodes have them.
 */
static void apart(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        draw_plan(&s, &rng, 16);
        const uint64_t usable = cluster_usable(&s.g.cluster);
        for (uint32_t i = 0; i < s.request.shape.shard_count; i++) {
            const uint64_t nodes = nodes_of(&s, i);
            assert_int_equal(node_mask_count(nodes), s.result.replicas);
            assert_int_equal(nodes & ~usable, 0);
            for (uint32_t level = 0; level < DOMAIN_LEVELS; level++) {
                const uint32_t there =
                    cluster_differ(&s.g.cluster, (enum domain_level)level, usable);
                const uint32_t differ =
                    cluster_differ(&s.g.cluster, (enum domain_level)level, nodes);
                assert_true(differ >= min_u64(there, s.result.replicas));
                if (level <= s.result.apart)
                    assert_int_equal(differ, s.result.replicas);
            }
        }
        assert_true(s.result.apart >= s.request.apart);
    }
}

/* A degraded volume has as many replicas as can be apart, and the other slots are empty. */
static void degraded(void **state)
{
    static struct scene s;
    struct rng rng;
    unsigned seen = 0;
    (void)state;
    rng_init(&rng, 2);
    for (unsigned round = 0; round < ROUNDS; round++) {
        draw_plan(&s, &rng, 4);
        const uint32_t have =
            cluster_differ(&s.g.cluster, s.request.apart, cluster_usable(&s.g.cluster));
        assert_int_equal(s.result.replicas, min_u64(have, s.request.replicas));
        seen += s.result.replicas < s.request.replicas;
        for (uint32_t i = 0; i < s.request.shape.shard_count; i++)
            for (uint32_t slot = 0; slot < s.request.replicas; slot++)
                assert_int_equal(disk_of(&s, i, slot) == SPREAD_NO_DISK, slot >= s.result.replicas);
    }
    assert_true(seen > ROUNDS / 20);
}

/* P6: a volume lies on the nodes of its stride alone, and these are no more than was asked. */
static void stride(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 3);
    for (unsigned round = 0; round < ROUNDS; round++) {
        draw_plan(&s, &rng, 20);
        for (uint32_t i = 0; i < s.request.shape.shard_count; i++)
            assert_int_equal(nodes_of(&s, i) & ~s.result.stride, 0);
        if (s.request.stride_nodes > 0)
            assert_true(node_mask_count(s.result.stride) <= s.request.stride_nodes);
    }
}

/* The default stride has two copysets, and more nodes if the volume does not fit there. */
static void large_volumes_get_more_nodes(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 15);
    for (unsigned round = 0; round < 50; round++) {
        cluster_make(&s.g, &rng, (struct cluster_shape) { 24, 0, 0, 1, 1024 * GIB });
        s.request = (struct spread_request) { .volume = draw_uuid(&rng), .replicas = 3 };
        s.request.shape = (struct placement_shape) { 2 * GIB, 900, 8 };
        assert_true(status_ok(plan(&s))); /* 5.3 TiB of 6. */
        assert_int_equal(node_mask_count(s.result.stride), 6);
        memcpy(s.g.disks, s.before, sizeof s.before);
        s.request.shape.shard_count = 2000;
        assert_true(status_ok(plan(&s))); /* 11.7 TiB. */
        assert_in_range(node_mask_count(s.result.stride), 12, 14);
    }
}

/*
 * P6: a node that fails touches its part of the volumes. With strides of 6 of 24 nodes that is a
 * quarter of them, 75 of 300; here at most 90.
 */
static void failure_touches_a_part(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 4);
    for (unsigned round = 0; round < 4; round++) {
        uint32_t touched[CTL_NODES_MAX] = { 0 };
        cluster_make(&s.g, &rng, (struct cluster_shape) { 24, 0, 0, 4, 1024 * GIB });
        s.request = (struct spread_request) { .replicas = 3, .shape = { GIB, 24, 4 } };
        for (unsigned volume = 0; volume < 300; volume++) {
            s.request.volume = draw_uuid(&rng);
            assert_true(status_ok(plan(&s)));
            assert_true(node_mask_count(s.result.stride) <= 6);
            for (uint64_t rest = s.result.stride; rest != 0;)
                touched[node_mask_next(&rest)]++;
        }
        for (uint32_t i = 0; i < 24; i++)
            assert_in_range(touched[i], 45, 90);
    }
}

/*
 * P7: all shards of a volume lie on few tuples of disks, which repeat; and what is planned grew by
 * what was placed.
 */
static void few_tuples(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 5);
    for (unsigned round = 0; round < ROUNDS; round++) {
        draw_plan(&s, &rng, 20);
        const uint32_t replicas = s.request.replicas;
        const uint32_t tuples = s.result.tuples;
        const uint32_t most = s.request.tuples_max;
        assert_in_range(tuples, 1, most > 0 ? most : CTL_TUPLES_MAX);
        for (uint32_t i = 0; i < s.request.shape.shard_count; i++) {
            if (i >= tuples)
                assert_memory_equal(&s.disks[(size_t)i * replicas],
                                    &s.disks[(size_t)(i - tuples) * replicas],
                                    replicas * sizeof s.disks[0]);
            for (uint32_t slot = 0; slot < s.result.replicas; slot++)
                s.before[disk_of(&s, i, slot)].planned_bytes += s.request.shape.shard_bytes;
        }
        assert_memory_equal(s.before, s.g.disks, sizeof s.before);
    }
}

/* The lowest and the highest share of the disks, or of the nodes, of a mask of nodes. */
struct range {
    uint64_t low, high;
};

static void range_add(struct range *r, struct placement_disk space)
{
    const uint64_t share = share_with(space, 0);
    r->low = min_u64(r->low, share);
    r->high = max_u64(r->high, share);
}

static struct placement_disk all_space(const struct scene *s)
{
    struct placement_disk all = { 0 };
    for (uint32_t i = 0; i < s->g.disk_count; i++) {
        all.bytes += s->g.disks[i].bytes;
        all.planned_bytes += s->g.disks[i].planned_bytes;
    }
    return all;
}

static struct range node_range(const struct scene *s)
{
    struct range r = { UINT64_MAX, 0 };
    for (uint32_t i = 0; i < s->g.cluster.node_count; i++)
        range_add(&r, cluster_node_space(&s->g.cluster, i));
    return r;
}

/* The largest difference of shares between two disks of one node. */
static uint64_t disk_gap(const struct scene *s)
{
    uint64_t gap = 0;
    for (uint32_t i = 0; i < s->g.cluster.node_count; i++) {
        const struct placement_node *n = &s->g.nodes[i];
        struct range r = { UINT64_MAX, 0 };
        for (uint32_t d = 0; d < n->disk_count; d++)
            range_add(&r, s->g.disks[n->first_disk + d]);
        gap = max_u64(gap, r.high - r.low);
    }
    return gap;
}

/* Makes volumes of shards of 1 GiB until some node is as full as share says. */
static void fill(struct scene *s, struct rng *rng, uint32_t replicas, uint64_t share)
{
    while (node_range(s).high < share) {
        s->request = (struct spread_request) {
            .volume = draw_uuid(rng),
            .replicas = replicas,
            .shape = { GIB, 16 + (uint32_t)rng_below(rng, 100),
                       1 + (uint32_t)rng_below(rng, CTL_STRIPE_WIDTH_MAX) },
        };
        assert_true(status_ok(plan(s)));
    }
}

/*
 * P8: equal nodes fill equally, in zones too; and on each node the disks fill in proportion to
 * their size, however wide the stripes are: to within 1/64 and the shards of one volume.
 */
static void fills_evenly(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        rng_init(&rng, round);
        const uint32_t zones = round % 2 == 0 ? 0 : 3;
        const uint32_t nodes = 6 + 3 * (uint32_t)rng_below(&rng, 5);
        cluster_make(&s.g, &rng, (struct cluster_shape) { nodes, zones, 0, 3, 0 });
        /* Every node has the same three disks. */
        for (uint32_t i = 0; i < s.g.disk_count; i++)
            s.g.disks[i].bytes = (512 * GIB) << (i % 3);
        cluster_count(&s.g);
        fill(&s, &rng, 2 + round / 2 % 2, SHARE_ONE * 8 / 10);
        const struct range r = node_range(&s);
        assert_true(r.low >= SHARE_ONE * 65 / 100);
        assert_true(share_with(all_space(&s), 0) >= SHARE_ONE * 75 / 100);
        assert_true(disk_gap(&s) <= SHARE_SLACK + SHARE_ONE / 64);
    }
}

/* P8: nodes of 2, 4 and 8 TiB: when the first is full, nearly all of the space is planned. */
static void unequal_nodes(void **state)
{
    static struct scene s;
    struct rng rng;
    uint64_t sum = 0;
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        rng_init(&rng, round);
        cluster_make(&s.g, &rng, (struct cluster_shape) { 12, 0, 0, 2, 0 });
        for (uint32_t i = 0; i < s.g.disk_count; i += 2)
            s.g.disks[i].bytes = s.g.disks[i + 1].bytes = (1024 * GIB) << rng_below(&rng, 3);
        cluster_count(&s.g);
        fill(&s, &rng, 2 + round % 2, SHARE_ONE);
        const uint64_t full = share_with(all_space(&s), 0);
        assert_true(full > SHARE_ONE * 85 / 100);
        sum += full;
    }
    assert_true(sum / 20 > SHARE_ONE * 96 / 100);
}

/* P9: a stripe uses no disk twice, if nodes have as many equal disks as the stripe is wide. */
static void stripes_use_many_disks(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 8);
    for (unsigned round = 0; round < 100; round++) {
        const uint32_t width = 1 + (uint32_t)rng_below(&rng, 8);
        const uint32_t shards = 1 + (uint32_t)rng_below(&rng, 1000);
        cluster_make(&s.g, &rng,
                     (struct cluster_shape) { 3 + round % 10, 0, 0, width, 1024 * GIB });
        s.request = (struct spread_request) { .volume = draw_uuid(&rng),
                                              .replicas = 3,
                                              .shape = { GIB, shards, width } };
        assert_true(status_ok(plan(&s)));
        for (uint32_t first = 0; first < shards; first += width) {
            uint8_t used[CTL_DISKS_MAX] = { 0 };
            for (uint32_t i = first; i < first + width && i < shards; i++)
                for (uint32_t slot = 0; slot < 3; slot++)
                    assert_int_equal(used[disk_of(&s, i, slot)]++, 0);
        }
    }
}

/* P9: a stripe as wide as the stride has disks uses all of them. */
static void stripes_use_all_disks(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 9);
    for (unsigned round = 0; round < 50; round++) {
        uint8_t used[CTL_DISKS_MAX] = { 0 };
        const uint32_t disks = 1 + round % 5;
        cluster_make(&s.g, &rng,
                     (struct cluster_shape) { 3 + round % 10, 0, 0, disks, 1024 * GIB });
        s.request = (struct spread_request) { .volume = draw_uuid(&rng),
                                              .replicas = 3,
                                              .shape = { GIB, 64, 64 } };
        assert_true(status_ok(plan(&s)));
        uint32_t count = 0;
        for (uint32_t i = 0; i < 64 * 3; i++)
            count += used[s.disks[i]]++ == 0;
        assert_int_equal(count, disks * node_mask_count(s.result.stride));
    }
}

/* P10: of the tuples that a disk is in, it is first in one of as many as there are replicas. */
static void firsts_take_turns(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 10);
    for (unsigned round = 0; round < ROUNDS; round++) {
        int64_t due[CTL_DISKS_MAX] = { 0 };
        draw_plan(&s, &rng, 16);
        const int64_t replicas = s.result.replicas;
        for (uint32_t i = 0; i < s.result.tuples; i++) {
            due[disk_of(&s, i, 0)] -= replicas;
            for (uint32_t slot = 0; slot < replicas; slot++)
                due[disk_of(&s, i, slot)]++;
        }
        for (uint32_t i = 0; i < s.g.disk_count; i++)
            assert_in_range(due[i] + 2 * replicas, 0, 4 * replicas);
    }
}

/* Equal inputs give equal plans, and the volume's UUID is one of them. */
static void pure(void **state)
{
    static struct scene s, again;
    struct rng rng;
    unsigned differ = 0;
    (void)state;
    rng_init(&rng, 11);
    for (unsigned round = 0; round < 100; round++) {
        cluster_make(&s.g, &rng, (struct cluster_shape) { 18, 3, 2, 2, 1024 * GIB });
        draw_request(&s, &rng);
        s.request.replicas = 3;
        s.request.stride_nodes = 0;
        again = s;
        again.g.cluster.nodes = again.g.nodes;
        again.g.cluster.disks = again.g.disks;
        assert_true(status_ok(plan(&s)));
        assert_true(status_ok(plan(&again)));
        assert_memory_equal(s.disks, again.disks, sizeof s.disks);
        again.request.volume = draw_uuid(&rng);
        memcpy(again.g.disks, again.before, sizeof again.before);
        assert_true(status_ok(plan(&again)));
        differ += again.result.stride != s.result.stride;
    }
    assert_true(differ > 80);
}

/* What a volume grows by lies in its stride, and on its copysets as long as there are any. */
static void growth_stays_in_the_stride(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 12);
    for (unsigned round = 0; round < 100; round++) {
        draw_plan(&s, &rng, 20);
        const struct spread_result first = s.result;
        s.request.within = first.stride;
        s.request.allow_degraded = true;
        assert_true(status_ok(plan(&s)));
        assert_int_equal(s.result.stride & ~first.stride, 0);
        assert_int_equal(s.result.replicas, first.replicas);
        for (uint32_t i = 0; i < s.request.shape.shard_count; i++)
            assert_int_equal(nodes_of(&s, i) & ~first.stride, 0);
    }
}

/* A node that is away changes no copyset of the others: those that have it are not used. */
static void away_changes_nothing(void **state)
{
    static struct scene s;
    static struct copysets sets;
    struct rng rng;
    (void)state;
    rng_init(&rng, 13);
    for (unsigned round = 0; round < 100; round++) {
        cluster_make(&s.g, &rng, (struct cluster_shape) { 9 + round % 6, 0, 0, 2, 1024 * GIB });
        const uint64_t all = cluster_nodes(&s.g.cluster);
        assert_true(status_ok(copysets_build(&s.g.cluster, all, 3, 0, &sets)));
        s.g.nodes[rng_below(&rng, 9)].usable = false;
        s.request = (struct spread_request) { .volume = draw_uuid(&rng),
                                              .replicas = 3,
                                              .shape = { GIB, 50, 4 } };
        assert_true(status_ok(plan(&s)));
        for (uint32_t i = 0; i < 50; i++) {
            unsigned known = 0;
            for (uint32_t c = 0; c < sets.count; c++)
                known += sets.nodes[c] == nodes_of(&s, i);
            assert_int_equal(known, 1);
        }
    }
}

static void refuse(struct scene *s, const char *text)
{
    assert_true(status_is(plan(s), STATUS_NO_SPACE));
    assert_string_equal(s->problem.s, text);
}

/* A refusal says how many nodes or domains there are, of what, and how many it takes. */
static void refusals(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 14);
    cluster_make(&s.g, &rng, (struct cluster_shape) { 4, 2, 1, 1, 1024 * GIB });
    s.request = (struct spread_request) { .replicas = 3, .shape = { GIB, 8, 4 } };
    s.request.apart = DOMAIN_ZONE;
    refuse(&s, "3 replicas in different zones need 3 zones with a working disk, and there are 2: "
               "'a', 'b'");
    s.g.nodes[0].zone = s.g.nodes[2].zone = "";
    s.g.nodes[2].rack = "";
    s.g.nodes[2].usable = false;
    s.request.apart = DOMAIN_RACK;
    refuse(&s, "3 replicas in different racks need 3 racks with a working disk, and there are 2: "
               "'a', 'b/a'");
    s.g.nodes[0].rack = "";
    refuse(&s, "3 replicas in different racks need 3 racks with a working disk, and there are 2: "
               "(none), 'b/a'");
    s.request.apart = DOMAIN_NODE;
    s.g.nodes[3].usable = false;
    refuse(&s, "3 replicas need 3 nodes with a working disk, and there are 2 of 4");
    s.request.within = 0x1;
    refuse(&s, "3 replicas need 3 nodes with a working disk in the volume's stride, and there is "
               "1");
    s.request.within = 0;
    s.request.replicas = 1;
    s.request.allow_degraded = true;
    s.g.nodes[0].usable = s.g.nodes[1].usable = false;
    refuse(&s, "1 replica needs 1 node with a working disk, and there are 0 of 4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apart),
        cmocka_unit_test(degraded),
        cmocka_unit_test(stride),
        cmocka_unit_test(large_volumes_get_more_nodes),
        cmocka_unit_test(failure_touches_a_part),
        cmocka_unit_test(few_tuples),
        cmocka_unit_test(fills_evenly),
        cmocka_unit_test(unequal_nodes),
        cmocka_unit_test(stripes_use_many_disks),
        cmocka_unit_test(stripes_use_all_disks),
        cmocka_unit_test(firsts_take_turns),
        cmocka_unit_test(pure),
        cmocka_unit_test(growth_stays_in_the_stride),
        cmocka_unit_test(away_changes_nothing),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("spread", tests, NULL, NULL);
}
