/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults of a disk, as --disk takes them:
 *
 *     fault:ACTION[,KINDS][,KEY=VALUE]...:PATH
 *
 *     fault:error,writes,skip=1000,count=1:/dev/shm/d     the 1,001st write fails
 *     fault:delay,us=20000:mem:1G                         everything takes 20 ms longer
 *
 *   ACTION  error, delay, lose or rot              skip=N   so many requests pass first
 *   KINDS   reads, writes, flushes, discards;      count=N  then so many are hit; 0: all
 *           all of them if there is none           at=SIZE, bytes=SIZE  where; anywhere
 *   us=N    of a delay
 *
 * Threading: pure.   Memory: values.
 */
#ifndef CMD_UP_FAULT_H
#define CMD_UP_FAULT_H

#include "disk/dev_fault.h"

#define UP_FAULT_PREFIX "fault:"

/* Parses what follows the prefix.  *out_path points at the path in text.  INVALID otherwise. */
struct status up_fault_parse(const char *text, struct dev_fault *out_fault,
                             const char **out_path) MUST_CHECK;

#endif
