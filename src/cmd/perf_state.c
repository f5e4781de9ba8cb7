/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/perf_state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/le.h"

#define MAGIC        UINT64_C(0x3154535946524556) /* "VERFYST1" as bytes. */
#define VERSION      1
#define HEADER_BYTES 4096

struct header_format {
    struct le64 magic;
    struct le32 version;
    struct le32 record_bytes;
    uint8_t volume[16];
    struct le64 run;
    struct le64 seed;
    struct le64 first_block;
    struct le64 block_count;
    struct le32 crc;
};
_Static_assert(sizeof(struct header_format) == 68, "no padding");

/* Words, not bytes: a store must not be torn by a signal. */
struct record_format {
    uint32_t submitted_le;
    uint32_t acknowledged_le;
    uint32_t flushed_le;
    uint32_t zero;
};
_Static_assert(sizeof(struct record_format) == 16, "records do not cross pages");

struct perf_state {
    struct perf_state_id id;
    int fd; /* Locked as long as it is open; -1 for a state in memory. */
    uint8_t *map;
    size_t map_bytes;
    struct record_format *records;
};

static size_t file_bytes(uint64_t block_count)
{
    return HEADER_BYTES + (size_t)block_count * sizeof(struct record_format);
}

static bool id_is_sane(const struct perf_state_id *id)
{
    return id->block_count > 0 && id->block_count <= PERF_STATE_BLOCKS_MAX &&
           id->first_block <= UINT64_MAX / PERF_BLOCK_BYTES - id->block_count;
}

/* ---- The header ---- */

static struct header_format header_encode(const struct perf_state_id *id)
{
    struct header_format h = {
        .magic = le64_make(MAGIC),
        .version = le32_make(VERSION),
        .record_bytes = le32_make(sizeof(struct record_format)),
        .run = le64_make(id->block_id.run),
        .seed = le64_make(id->seed),
        .first_block = le64_make(id->first_block),
        .block_count = le64_make(id->block_count),
    };
    memcpy(h.volume, id->block_id.volume.b, sizeof h.volume);
    h.crc = le32_make(crc32c(&h, offsetof(struct header_format, crc)));
    return h;
}

static struct status header_decode(const struct header_format *h, struct perf_state_id *out_id)
{
    struct perf_state_id id = {
        .block_id.run = le64_get(h->run),
        .seed = le64_get(h->seed),
        .first_block = le64_get(h->first_block),
        .block_count = le64_get(h->block_count),
    };

    if (le64_get(h->magic) != MAGIC)
        return STATUS(CORRUPT);
    if (le32_get(h->crc) != crc32c(h, offsetof(struct header_format, crc)))
        return STATUS(CORRUPT);
    if (le32_get(h->version) != VERSION)
        return STATUS(BAD_VERSION);
    if (le32_get(h->record_bytes) != sizeof(struct record_format) || !id_is_sane(&id))
        return STATUS(CORRUPT);
    memcpy(id.block_id.volume.b, h->volume, sizeof h->volume);
    *out_id = id;
    return STATUS(OK);
}

/* ---- Files ---- */

static struct status map(struct perf_state *s)
{
    const int flags = s->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

    s->map_bytes = file_bytes(s->id.block_count);
    void *at = mmap(NULL, s->map_bytes, PROT_READ | PROT_WRITE, flags, s->fd, 0);
    if (at == MAP_FAILED)
        return status_from_errno(errno);
    s->map = at;
    s->records = (struct record_format *)(void *)(s->map + HEADER_BYTES);
    return STATUS(OK);
}

static struct status lock(const struct perf_state *s)
{
    if (flock(s->fd, LOCK_EX | LOCK_NB) == 0)
        return STATUS(OK);
    return errno == EWOULDBLOCK ? STATUS(BUSY) : status_from_errno(errno);
}

/* The header comes last: a file that was not finished is not taken for one. */
static struct status write_new_file(struct perf_state *s)
{
    const struct header_format h = header_encode(&s->id);

    TRY(lock(s));
    const int err = posix_fallocate(s->fd, 0, (off_t)file_bytes(s->id.block_count));
    if (err != 0)
        return status_from_errno(err);
    const ssize_t n = pwrite(s->fd, &h, sizeof h, 0);
    if (n != (ssize_t)sizeof h)
        return n < 0 ? status_from_errno(errno) : STATUS(IO);
    return map(s);
}

static struct status read_file(struct perf_state *s)
{
    struct header_format h;
    struct stat info;

    TRY(lock(s));
    const ssize_t n = pread(s->fd, &h, sizeof h, 0);
    if (n < 0 || fstat(s->fd, &info) != 0)
        return status_from_errno(errno);
    if (n != (ssize_t)sizeof h)
        return STATUS(CORRUPT);
    TRY(header_decode(&h, &s->id));
    if ((uint64_t)info.st_size != file_bytes(s->id.block_count))
        return STATUS(CORRUPT);
    return map(s);
}

static struct perf_state *state_alloc(const struct perf_state_id *id)
{
    struct perf_state *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->fd = -1;
    if (id != NULL)
        s->id = *id;
    return s;
}

/* Hands the state out, or frees it if st says that it did not come to be. */
static struct status finish(struct perf_state *s, struct status st, struct perf_state **out_state)
{
    if (!status_ok(st)) {
        perf_state_close(s);
        return st;
    }
    *out_state = s;
    return st;
}

struct status perf_state_create(const struct perf_state_id *id, struct perf_state **out_state)
{
    assert(id_is_sane(id));

    struct perf_state *s = state_alloc(id);
    if (s == NULL)
        return STATUS(NO_MEMORY);
    return finish(s, map(s), out_state);
}

struct status perf_state_create_file(const char *path, const struct perf_state_id *id,
                                     struct perf_state **out_state)
{
    assert(id_is_sane(id));

    struct perf_state *s = state_alloc(id);
    if (s == NULL)
        return STATUS(NO_MEMORY);
    s->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (s->fd < 0)
        return finish(s, status_from_errno(errno), out_state);
    const struct status st = write_new_file(s);
    if (!status_ok(st))
        (void)unlink(path); /* It is ours, and of no use. */
    return finish(s, st, out_state);
}

struct status perf_state_open_file(const char *path, struct perf_state **out_state)
{
    struct perf_state *s = state_alloc(NULL);
    if (s == NULL)
        return STATUS(NO_MEMORY);
    s->fd = open(path, O_RDWR | O_CLOEXEC);
    if (s->fd < 0)
        return finish(s, status_from_errno(errno), out_state);
    return finish(s, read_file(s), out_state);
}

void perf_state_close(struct perf_state *s)
{
    if (s == NULL)
        return;
    if (s->map != NULL)
        (void)munmap(s->map, s->map_bytes);
    if (s->fd >= 0)
        (void)close(s->fd);
    free(s);
}

/* ---- Records ---- */

const struct perf_state_id *perf_state_id(const struct perf_state *s)
{
    return &s->id;
}

struct perf_record perf_state_get(const struct perf_state *s, uint64_t index)
{
    assert(index < s->id.block_count);

    const struct record_format *r = &s->records[index];
    return (struct perf_record) {
        .submitted = le32toh(r->submitted_le),
        .acknowledged = le32toh(r->acknowledged_le),
        .flushed = le32toh(r->flushed_le),
    };
}

/* Release order: what was stored before is in the mapping before this is. */
static void store(uint32_t *word, uint32_t sequence)
{
    __atomic_store_n(word, htole32(sequence), __ATOMIC_RELEASE);
}

void perf_state_set_submitted(struct perf_state *s, uint64_t index, uint32_t sequence)
{
    assert(index < s->id.block_count);
    store(&s->records[index].submitted_le, sequence);
}

void perf_state_set_acknowledged(struct perf_state *s, uint64_t index, uint32_t sequence)
{
    assert(index < s->id.block_count);
    store(&s->records[index].acknowledged_le, sequence);
}

void perf_state_set_flushed(struct perf_state *s, uint64_t index, uint32_t sequence)
{
    assert(index < s->id.block_count);
    store(&s->records[index].flushed_le, sequence);
}
