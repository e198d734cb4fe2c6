/* io_uring by raw system calls: one ring, mapped by hand, and files opened through it. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Of one submission. */
enum { BATCH = 10 };
/* <linux/openat2.h>, which older headers lack. */
struct how {
    uint64_t flags, mode, resolve;
};
#ifndef IORING_FILE_INDEX_ALLOC
#define IORING_FILE_INDEX_ALLOC (~0U)
#endif

struct ring ring_make(unsigned entries, unsigned flags)
{
    struct io_uring_params params = {.flags = flags, .sq_thread_idle = 1000};
    struct ring ring = {.fd = (int)syscall(SYS_io_uring_setup, entries, &params), .setup = flags};
    if (ring.fd < 0)
        refused("io_uring_setup");
    size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
    size_t cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    size_t sqes_size = params.sq_entries * sizeof(struct io_uring_sqe);
    char *sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_CQ_RING);
    ring.sqes = mmap(NULL, sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || (void *)ring.sqes == MAP_FAILED)
        refused("mapping a ring of io_uring");
    ring.sq_tail = (uint32_t *)(sq + params.sq_off.tail);
    ring.sq_flags = (uint32_t *)(sq + params.sq_off.flags);
    ring.sq_mask = *(uint32_t *)(sq + params.sq_off.ring_mask);
    for (uint32_t i = 0; i < params.sq_entries; i++)
        ((uint32_t *)(sq + params.sq_off.array))[i] = i;
    ring.cq_head = (uint32_t *)(cq + params.cq_off.head);
    ring.cq_tail = (uint32_t *)(cq + params.cq_off.tail);
    ring.cq_mask = *(uint32_t *)(cq + params.cq_off.ring_mask);
    ring.cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
    return ring;
}

struct io_uring_sqe *ring_next(struct ring *ring)
{
    struct io_uring_sqe *sqe = &ring->sqes[(*ring->sq_tail + ring->queued) & ring->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    sqe->user_data = ring->queued++;
    return sqe;
}

void ring_run(struct ring *ring, int *results)
{
    unsigned count = ring->queued, flags = 0;
    __atomic_store_n(ring->sq_tail, *ring->sq_tail + count, __ATOMIC_RELEASE);
    ring->queued = 0;
    /* What was written must be there before the thread is asked whether it sleeps. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (ring->setup & IORING_SETUP_SQPOLL && *(volatile uint32_t *)ring->sq_flags & IORING_SQ_NEED_WAKEUP)
        flags |= IORING_ENTER_SQ_WAKEUP;
    /* A request that makes no sense ends a submission before those behind it. */
    for (long done = 0, more; done < (long)count; done += more)
        if ((more = syscall(SYS_io_uring_enter, ring->fd, count - done, 0, flags, NULL, 0)) <= 0)
            broken("io_uring_enter");
    if (syscall(SYS_io_uring_enter, ring->fd, 0, count, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        broken("io_uring_enter");
    if (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head != count)
        broken("a ring that did not complete all");
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_cqe *cqe = &ring->cqes[(*ring->cq_head + i) & ring->cq_mask];
        results[cqe->user_data] = cqe->res;
    }
    __atomic_store_n(ring->cq_head, *ring->cq_head + count, __ATOMIC_RELEASE);
}

static void prepare(struct io_uring_sqe *sqe, int dir, const char *name, int flags)
{
    sqe->opcode = IORING_OP_OPENAT;
    sqe->fd = dir;
    sqe->addr = (uint64_t)(uintptr_t)name;
    sqe->open_flags = (uint32_t)flags;
}

/* Five kinds in turn: two that are there, one that is made, one that is not there, one whose name cannot be read. */
int do_uring_opens(int argc, char **argv)
{
    (void)argc;
    const char *dir = argv[1];
    long times = number(argv[2], COUNT_MAX);
    int by_workers = strcmp(argv[3], "async") == 0, polled = strcmp(argv[3], "sqpoll") == 0;
    struct ring ring = ring_make(BATCH, polled ? IORING_SETUP_SQPOLL : 0);
    static char names[BATCH][64], paths[BATCH][PATH_MAX];
    static const char *kinds[] = {"openat", "openat2", "absent", "dirfd", "fault"};
    int results[BATCH], dirfd = open(dir, O_RDONLY | O_DIRECTORY);
    struct how how = {.flags = O_CREAT | O_RDWR, .mode = 0600};
    if (dirfd < 0)
        broken(dir);
    for (long i = 0; i < times; i += BATCH) {
        for (long n = 0; n < BATCH; n++) {
            long kind = (i + n) % 5;
            snprintf(names[n], sizeof names[n], "f%ld", i + n);
            snprintf(paths[n], sizeof paths[n], "%s/%s", dir, names[n]);
            if ((kind == 0 || kind == 3) && mknod(paths[n], S_IFREG | 0644, 0) < 0)
                broken(paths[n]);
            struct io_uring_sqe *sqe = ring_next(&ring);
            switch (kind) {
            case 0:
            case 2:
                prepare(sqe, AT_FDCWD, paths[n], O_RDONLY);
                break;
            case 1:
                prepare(sqe, dirfd, names[n], 0);
                sqe->opcode = IORING_OP_OPENAT2;
                sqe->len = sizeof how;
                sqe->off = (uint64_t)(uintptr_t)&how;
                break;
            case 3:
                prepare(sqe, dirfd, names[n], O_WRONLY);
                break;
            case 4:
                prepare(sqe, AT_FDCWD, (const char *)8, O_RDONLY);
                break;
            }
            sqe->flags = by_workers ? IOSQE_ASYNC : 0;
        }
        ring_run(&ring, results);
        for (long n = 0; n < BATCH; n++) {
            long kind = (i + n) % 5;
            const char *requested = kind == 4 ? "" : kind % 2 ? names[n] : paths[n];
            errno = -results[n];
            if (results[n] == -EINVAL)
                refused("IORING_OP_OPENAT");
            if (kind == 2 || kind == 4)
                tell_failed(kinds[kind], requested, results[n]);
            else
                tell_open(kinds[kind], paths[n], requested, results[n], kind == 1);
        }
    }
    return 0;
}

/* Into the ring's own table: every other slot is the kernel's choice, from the begin of the table. */
int do_uring_direct(int argc, char **argv)
{
    (void)argc;
    const char *dir = argv[1];
    long times = number(argv[2], 1000);
    struct ring ring = ring_make(1, 0);
    int *table = malloc(sizeof *table * (size_t)times), result;
    char path[PATH_MAX];
    struct stat file;
    for (long i = 0; i < times; i++)
        table[i] = -1;
    if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, table, times) < 0)
        refused("IORING_REGISTER_FILES");
    for (long i = 0; i < times; i++) {
        snprintf(path, sizeof path, "%s/d%ld", dir, i);
        if (mknod(path, S_IFREG | 0644, 0) < 0 || stat(path, &file) < 0)
            broken(path);
        struct io_uring_sqe *sqe = ring_next(&ring);
        prepare(sqe, AT_FDCWD, path, O_RDONLY);
        sqe->file_index = i % 2 ? IORING_FILE_INDEX_ALLOC : (uint32_t)(times - i / 2);
        ring_run(&ring, &result);
        errno = -result;
        if (result < 0)
            refused("an open into a ring's table");
        dprintf(1, "{\"act\":\"open\",\"pid\":%d,\"path\":\"%s\",\"requested\":\"%s\",\"fd\":%ld,\"dev\":\"%u:%u\","
                   "\"ino\":%llu,\"created\":false}\n",
                getpid(), path, path, i % 2 ? (long)result : times - i / 2 - 1, major(file.st_dev),
                minor(file.st_dev), (unsigned long long)file.st_ino);
    }
    return 0;
}
