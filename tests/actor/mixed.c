/* Opens in every way, each of a file of its own, by processes of several threads at once. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIXED_THREADS = 3, PER_THREAD = 2 * PATH_MAX };
static const char *const WAYS[] = {"openat", "dirfd",   "open",  "creat", "openat2", "handle",
                                   "symlink", "o_path", "uring", "int80"};
enum { OPENAT, DIRFD, OPEN, CREAT, OPENAT2, HANDLE, SYMLINK, O_PATH_, URING, INT80, WAYS_LEN };

static char dir[PATH_MAX - 128];
static int dir_fd;
static long opens;
/* 64 KiB below 4 GiB, a part for each thread; NULL where there are no 32-bit calls. */
static char *low;
static int has_uring;

struct part {
    int number;
    struct ring ring;
};

static int by_uring(struct ring *ring, const char *name)
{
    int result;
    struct io_uring_sqe *sqe = ring_next(ring);
    sqe->opcode = IORING_OP_OPENAT;
    sqe->fd = dir_fd;
    sqe->addr = (uint64_t)(uintptr_t)name;
    sqe->open_flags = O_RDONLY;
    ring_run(ring, &result);
    return result;
}

/* The descriptor, or -1. */
static int open_by(int way, struct part *part, const char *name, const char *path, long i)
{
    char other[PATH_MAX + 64];
    char *here;
    switch (way) {
    case OPENAT:
        return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | (i % 2 ? O_NOATIME : 0));
    case DIRFD:
        return (int)syscall(SYS_openat, dir_fd, name, O_WRONLY);
    case OPEN:
        return open_(path, O_RDWR);
    case CREAT:
        return creat_(path, 0600);
    case OPENAT2:
        return (int)openat2_(dir_fd, name, O_CREAT | O_RDWR, 0600);
    case HANDLE:
        return (int)open_by_handle(dir_fd, path, O_RDONLY);
    case SYMLINK:
        snprintf(other, sizeof other, "%s.l", path);
        if (symlink(name, other) < 0)
            broken(other);
        return (int)syscall(SYS_openat, AT_FDCWD, other, O_RDONLY);
    case O_PATH_: {
        /* fanotify says nothing of the first. */
        int first = (int)syscall(SYS_openat, AT_FDCWD, path, O_PATH);
        snprintf(other, sizeof other, "/proc/self/fd/%d", first);
        int again = (int)syscall(SYS_openat, AT_FDCWD, other, O_RDONLY);
        close(first);
        return again;
    }
    case URING:
        return by_uring(&part->ring, name);
    case INT80:
        here = low + (size_t)part->number * PER_THREAD;
        snprintf(here, PER_THREAD, "%s", path);
        return (int)call32(5, (long)(uintptr_t)here, O_RDONLY, 0, 0, 0);
    }
    return -1;
}

static void *mixed(void *argument)
{
    struct part *part = argument;
    char name[64], path[PATH_MAX];
    if (has_uring)
        part->ring = ring_make(1, 0);
    for (long i = 0; i < opens; i++) {
        int way = (int)(i % WAYS_LEN);
        if ((way == URING && !has_uring) || (way == INT80 && !low))
            way = OPENAT;
        snprintf(name, sizeof name, "f%d-%d-%ld", getpid(), part->number, i);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        if (way != CREAT && way != OPENAT2 && mknod(path, S_IFREG | 0644, 0) < 0)
            broken(path);
        int fd = open_by(way, part, name, path, i);
        struct stat file;
        if (fd < 0 || fstat(fd, &file) < 0)
            broken(WAYS[way]);
        close(fd);
        dprintf(1, "{\"act\":\"mixed-open\",\"pid\":%d,\"way\":\"%s\",\"ino\":%llu}\n", getpid(), WAYS[way],
                (unsigned long long)file.st_ino);
    }
    return NULL;
}

int do_mixed_opens(int argc, char **argv)
{
    (void)argc;
    long processes = number(argv[2], 64);
    char program[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", argv[1]);
    opens = number(argv[3], COUNT_MAX);
    snprintf(program, sizeof program, "%s/actor", dir);
    dir_fd = (int)syscall(SYS_openat, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        broken(dir);
    low = low_memory();
    int ring = (int)syscall(SYS_io_uring_setup, 1, &(struct io_uring_params){0});
    has_uring = ring >= 0;
    if (has_uring)
        close(ring);
    for (long i = 0; i < processes; i++) {
        pid_t pid = fork();
        if (pid < 0)
            broken("fork");
        if (pid > 0)
            continue;
        pthread_t threads[MIXED_THREADS];
        struct part parts[MIXED_THREADS];
        for (int j = 0; j < MIXED_THREADS; j++) {
            parts[j].number = j;
            if (pthread_create(&threads[j], NULL, mixed, &parts[j]) != 0)
                broken("pthread_create");
        }
        for (int j = 0; j < MIXED_THREADS; j++)
            pthread_join(threads[j], NULL);
        /* The kernel opens the program for itself. */
        execl(program, program, "exit", "0", NULL);
        broken(program);
    }
    for (int status; wait(&status) > 0;)
        if (status != 0)
            broken("a process of several threads");
    struct stat ran;
    if (stat(program, &ran) < 0)
        broken(program);
    dprintf(1, "{\"act\":\"mixed\",\"program\":%llu}\n", (unsigned long long)ran.st_ino);
    return 0;
}
