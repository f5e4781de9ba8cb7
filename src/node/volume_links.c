/* SPDX-License-Identifier: Apache-2.0 */
#include "node/volume_links.h"

#include <stdlib.h>

void volume_links_init(struct volume_links *l, void (*came_up)(void *ctx), void *ctx)
{
    *l = (struct volume_links) { .came_up = came_up, .ctx = ctx };
}

static void on_up(struct link_user *user)
{
    const struct volume_links *l = CONTAINER_OF(user, struct volume_link, user)->owner;

    l->came_up(l->ctx);
}

static void on_down(struct link_user *user)
{
    (void)user;
}

static bool has_node(const struct volume_links *l, struct uuid node)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (uuid_equal(link_node(l->items[i].link), node))
            return true;
    return false;
}

static void put_all(struct volume_links *l)
{
    for (uint32_t i = 0; i < l->count; i++) {
        link_unwatch(&l->items[i].user);
        link_put(l->items[i].link);
    }
    free(l->items);
    free(l->of_disk);
    l->items = NULL;
    l->of_disk = NULL;
    l->count = 0;
}

/* The link's address is the place's from now on. */
static struct status MUST_CHECK take_one(struct volume_links *l, struct links *links,
                                         const struct node_desired_place *place,
                                         struct link **out_link)
{
    struct volume_link *const item = &l->items[l->count];

    TRY(link_get(links, place->node, &place->addr, out_link));
    link_set_name(*out_link, place->node_name);
    if (has_node(l, place->node)) {
        link_put(*out_link);
        return STATUS(OK);
    }
    *item = (struct volume_link) { .owner = l,
                                   .link = *out_link,
                                   .user = { .up = on_up, .down = on_down } };
    link_watch(*out_link, &item->user);
    l->count++;
    return STATUS(OK);
}

static bool needs_link(const struct node_desired_place *place, struct uuid own)
{
    return !uuid_is_nil(place->node) && !uuid_equal(place->node, own) && place->addr.port != 0;
}

static struct status MUST_CHECK take_all(struct volume_links *l, struct links *links,
                                         struct uuid own, const struct node_desired_place *places,
                                         const bool *used, uint32_t disk_count)
{
    l->items = calloc((size_t)disk_count + 1, sizeof *l->items);
    l->of_disk = calloc((size_t)disk_count + 1, sizeof(struct link *));
    if (l->items == NULL || l->of_disk == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = 0; i < disk_count; i++)
        if (used[i] && links != NULL && needs_link(&places[i], own))
            TRY(take_one(l, links, &places[i], &l->of_disk[i]));
    return STATUS(OK);
}

/* The new ones are taken first, so that one that is needed still stays up.  Users name the items,
 * which stay where they are. */
struct status volume_links_take(struct volume_links *l, struct links *links, struct uuid own,
                                const struct node_desired_place *places, const bool *used,
                                uint32_t disk_count)
{
    struct volume_links next = { .came_up = l->came_up, .ctx = l->ctx };
    const struct status st = take_all(&next, links, own, places, used, disk_count);

    if (!status_ok(st)) {
        put_all(&next);
        return st;
    }
    put_all(l);
    *l = next;
    for (uint32_t i = 0; i < l->count; i++)
        l->items[i].owner = l;
    return STATUS(OK);
}

void volume_links_fini(struct volume_links *l)
{
    put_all(l);
}

bool volume_links_are_up(const struct volume_links *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (!link_is_up(l->items[i].link))
            return false;
    return true;
}
