/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C (Castagnoli), as NVMe/TCP digests and the disk format use it (RFC 3720, B.4):
 * initial value and final exclusive-or all ones.
 *
 * Threading: pure.   Memory: no allocation.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC32C of bytes bytes at data. */
uint32_t crc32c(const void *data, size_t bytes);

/* The CRC32C of a message of which crc is the CRC32C so far (0 for none) and data the rest. */
uint32_t crc32c_extend(uint32_t crc, const void *data, size_t bytes);

/* Copies bytes bytes from src to dst, which do not overlap, and returns their CRC32C. */
uint32_t crc32c_copy(void *restrict dst, const void *restrict src, size_t bytes);

#endif
