/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who runs a node on this machine: the process that holds DIR/NAME/lock, with its number in it.
 *
 * Threading: any.   Memory: values.
 */
#ifndef CMD_NODE_HOLDER_H
#define CMD_NODE_HOLDER_H

/* The number of the process; 0: none runs it; -1: no node of this name has run there (errno). */
long node_holder(const char *data, const char *name);

#endif
