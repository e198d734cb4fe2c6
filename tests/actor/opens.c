/* Opened files, and opens and execs that fail. Files are made with mknod, which opens nothing. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct how {
    uint64_t flags, mode, resolve;
};

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

long openat2_(int dir, const char *path, uint64_t flags, uint64_t mode)
{
    struct how how = {.flags = flags, .mode = mode};
    return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

int open_(const char *path, int flags)
{
#ifdef SYS_open
    return (int)syscall(SYS_open, path, flags);
#else
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags);
#endif
}

int creat_(const char *path, int mode)
{
#ifdef SYS_creat
    return (int)syscall(SYS_creat, path, mode);
#else
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
#endif
}

long open_by_handle(int dir, const char *path, int flags)
{
    struct {
        struct file_handle handle;
        unsigned char room[MAX_HANDLE_SZ];
    } file = {.handle = {.handle_bytes = MAX_HANDLE_SZ}};
    int mount;
    if (name_to_handle_at(AT_FDCWD, path, &file.handle, &mount, 0) < 0)
        refused("name_to_handle_at");
    return open_by_handle_at(dir, &file.handle, flags);
}

void tell_opened(const char *kind, const char *path, const char *requested, long fd, int created)
{
    struct stat file;
    if (fd < 0)
        broken(kind);
    if (fstat((int)fd, &file) < 0)
        broken("fstat");
    dprintf(1, "{\"act\":\"open\",\"pid\":%d,\"kind\":\"%s\",\"path\":\"%s\",\"requested\":\"%s\",\"fd\":%ld,"
               "\"dev\":\"%u:%u\",\"ino\":%llu,\"created\":%s}\n",
            own_pid(), kind, path, requested, fd, major(file.st_dev), minor(file.st_dev),
            (unsigned long long)file.st_ino, created ? "true" : "false");
}

void tell_open(const char *kind, const char *path, const char *requested, long fd, int created)
{
    tell_opened(kind, path, requested, fd, created);
    close((int)fd);
}

int do_opens(int argc, char **argv)
{
    (void)argc;
    const char *dir = argv[1];
    long times = number(argv[2], COUNT_MAX);
    char name[64], path[PATH_MAX], other[PATH_MAX + 64];
    int dirfd = (int)syscall(SYS_openat, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
    tell_opened("folder", dir, dir, dirfd, 0);
    if (chdir(dir) < 0)
        broken(dir);
    for (long i = 0; i < times; i++) {
        snprintf(name, sizeof name, "f%ld", i);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        int made = i % 10 == 4 || i % 10 == 5;
        if (!made && mknod(path, S_IFREG | 0644, 0) < 0)
            broken(path);
        switch (i % 10) {
        case 0:
            tell_open("absolute", path, path, syscall(SYS_openat, AT_FDCWD, path, O_RDONLY), 0);
            break;
        case 1:
            tell_open("relative", path, name, syscall(SYS_openat, AT_FDCWD, name, O_RDWR), 0);
            break;
        case 2:
            tell_open("dirfd", path, name, syscall(SYS_openat, dirfd, name, O_WRONLY), 0);
            break;
        case 3:
            tell_open("open", path, path, open_(path, O_RDONLY), 0);
            break;
        case 4:
            tell_open("creat", path, path, creat_(path, 0640), 1);
            break;
        case 5:
            tell_open("openat2", path, name, openat2_(dirfd, name, O_CREAT | O_RDWR, 0600), 1);
            break;
        case 6:
            tell_open("handle", path, "", open_by_handle(dirfd, path, O_RDONLY), 0);
            break;
        case 7:
            snprintf(other, sizeof other, "%s/l%ld", dir, i);
            if (symlink(name, other) < 0)
                broken(other);
            tell_open("symlink", path, other, syscall(SYS_openat, AT_FDCWD, other, O_RDONLY), 0);
            break;
        case 8: {
            /* Both opens are told: the second goes through the descriptor of the first. */
            int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_PATH);
            int kept = dup(fd);
            tell_open("o_path", path, path, fd, 0);
            snprintf(other, sizeof other, "/proc/self/fd/%d", kept);
            tell_open("procfd", path, other, syscall(SYS_openat, AT_FDCWD, other, O_RDONLY), 0);
            close(kept);
            break;
        }
        case 9: {
            char *untouched = cold(path);
            tell_open("cold", path, path, syscall(SYS_openat, AT_FDCWD, untouched, O_RDONLY), 0);
            break;
        }
        }
    }
    return 0;
}

void tell_failed(const char *kind, const char *requested, long result)
{
    if (result >= 0)
        broken("an open that should fail");
    dprintf(1, "{\"act\":\"failed\",\"pid\":%d,\"kind\":\"%s\",\"requested\":\"%s\",\"errno\":%d}\n", getpid(), kind,
            requested, errno);
}

int do_failed_opens(int argc, char **argv)
{
    (void)argc;
    const char *dir = argv[1];
    long times = number(argv[2], COUNT_MAX);
    char there[PATH_MAX], link[PATH_MAX], name[PATH_MAX], below[PATH_MAX + 64];
    snprintf(there, sizeof there, "%s/there", dir);
    snprintf(link, sizeof link, "%s/link", dir);
    if (mknod(there, S_IFREG | 0644, 0) < 0 || symlink("there", link) < 0)
        broken(there);
    for (long i = 0; i < times; i++) {
        snprintf(name, sizeof name, "%s/absent%ld", dir, i);
        snprintf(below, sizeof below, "%s/%ld", there, i);
        switch (i % 7) {
        case 0:
            tell_failed("absent", name, syscall(SYS_openat, AT_FDCWD, name, O_RDONLY));
            break;
        case 1:
            tell_failed("not a folder", below, syscall(SYS_openat, AT_FDCWD, below, O_RDONLY));
            break;
        case 2:
            tell_failed("there", there, syscall(SYS_openat, AT_FDCWD, there, O_CREAT | O_EXCL | O_RDWR, 0600));
            break;
        case 3:
            tell_failed("a link", link, syscall(SYS_openat, AT_FDCWD, link, O_NOFOLLOW));
            break;
        case 4:
            tell_failed("no dirfd", "there", syscall(SYS_openat, 9999, "there", O_RDONLY));
            break;
        case 5:
            tell_failed("unknown flags", there, openat2_(AT_FDCWD, there, 1ull << 40, 0));
            break;
        case 6:
            tell_failed("fault", "", syscall(SYS_openat, AT_FDCWD, (char *)8, O_RDONLY));
            break;
        }
    }
    return 0;
}

int do_failed_execs(int argc, char **argv)
{
    (void)argc;
    const char *path = argv[1];
    long times = number(argv[2], COUNT_MAX);
    /* On the stack, which is there: a call that fails before the kernel reads its arguments leaves pages of the program
       that nobody has touched where a hook cannot read them. */
    char zero[] = "zero", empty[] = "", two[] = "two words", x[] = "x";
    char *args[] = {zero, empty, two, NULL}, *env[] = {NULL};
    char *many[100];
    for (int i = 0; i < 99; i++)
        many[i] = x;
    many[99] = NULL;
    for (long i = 0; i < times; i++) {
        const char *kind = "execve";
        switch (i % 4) {
        case 0:
            syscall(SYS_execve, path, args, env);
            break;
        case 1:
            kind = "execveat";
            syscall(SYS_execveat, AT_FDCWD, path, args, env, 0);
            break;
        case 2:
            kind = "many";
            syscall(SYS_execve, path, many, env);
            break;
        case 3:
            kind = "fault";
            syscall(SYS_execve, path, (char **)8, env);
            break;
        }
        dprintf(1, "{\"act\":\"exec_failed\",\"pid\":%d,\"kind\":\"%s\",\"errno\":%d}\n", getpid(), kind, errno);
    }
    return 0;
}

int do_deep_open(int argc, char **argv)
{
    /* Folders of one-byte names, DEPTH of them; a path that no call could name at once is reached by steps. */
    (void)argc;
    long depth = number(argv[2], 4000);
    if (chdir(argv[1]) < 0)
        broken(argv[1]);
    for (long i = 0; i < depth; i++)
        if (mkdir("d", 0755) < 0 || chdir("d") < 0)
            broken("a folder");
    if (mknod("f", S_IFREG | 0644, 0) < 0)
        broken("f");
    tell_open("deep", "", "f", syscall(SYS_openat, AT_FDCWD, "f", O_RDONLY), 0);
    return 0;
}

int do_nameless(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    int ends[2];
    char path[64];
    if (pipe(ends) < 0)
        broken("pipe");
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    tell_open("pipe", "", path, syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_NONBLOCK), 0);
    return 0;
}
