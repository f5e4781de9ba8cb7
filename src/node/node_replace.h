/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other disks for a volume's slots that are out, and what the disks of before have of it
 * (docs/replication.md, 9.11 to 9.17): as it is wanted, and again from time to time.
 *
 * Threading: home.   Memory: in the volume.
 */
#ifndef NODE_NODE_REPLACE_H
#define NODE_NODE_REPLACE_H

struct node_volume;

void node_replace_init(struct node_volume *v);

/* The volume is served: the engine hears what is wanted. */
void node_replace_run(struct node_volume *v);

/* Other leftovers are wanted: those that are none any more are not reported. */
void node_replace_drop_forgotten(struct node_volume *v);

#endif
