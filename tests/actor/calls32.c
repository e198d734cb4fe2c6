/* Opens, execs and connections by calls of 32 bits, which this program of 64 makes by int 0x80. */
#include "actor.h"
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Their numbers (arch/x86/entry/syscalls/syscall_32.tbl). */
enum { OPEN32 = 5, CREAT32 = 8, EXECVE32 = 11, SOCKETCALL32 = 102, OPENAT32 = 295, BY_HANDLE32 = 342,
       EXECVEAT32 = 358, CONNECT32 = 362, OPENAT2_32 = 437 };

struct words {
    char text[PATH_MAX];
    uint64_t how[3];
    struct {
        struct file_handle handle;
        unsigned char room[MAX_HANDLE_SZ];
    } file;
    uint32_t args[128];
    union address to;
};

static struct words *words_below_4_gib(void)
{
    struct words *low = low_memory();
    if (!low)
        refused("int 0x80");
    return low;
}

static long at(const void *low)
{
    return (long)(uintptr_t)low;
}

/* What the C library would give. */
static long result(long returned)
{
    errno = returned < 0 ? (int)-returned : 0;
    return returned < 0 ? -1 : returned;
}

static long text32(struct words *low, const char *text)
{
    snprintf(low->text, sizeof low->text, "%s", text);
    return at(low->text);
}

static long by_handle(struct words *low, int dirfd, const char *path)
{
    int mount;
    low->file.handle.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(AT_FDCWD, path, &low->file.handle, &mount, 0) < 0)
        refused("name_to_handle_at");
    return result(call32(BY_HANDLE32, dirfd, at(&low->file), O_RDONLY, 0, 0));
}

static long openat2_32(struct words *low, int dirfd, const char *name, uint64_t flags, uint64_t mode)
{
    low->how[0] = flags;
    low->how[1] = mode;
    low->how[2] = 0;
    return result(call32(OPENAT2_32, dirfd, text32(low, name), at(low->how), sizeof low->how, 0));
}

int do_ia32_opens(int argc, char **argv)
{
    (void)argc;
    const char *dir = argv[1];
    long times = number(argv[2], COUNT_MAX);
    struct words *low = words_below_4_gib();
    char name[64], path[PATH_MAX + 64];
    int dirfd = (int)syscall(SYS_openat, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
    tell_opened("folder", dir, dir, dirfd, 0);
    for (long i = 0; i < times; i++) {
        snprintf(name, sizeof name, "f%ld", i);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        int there = i % 10 <= 2 || i % 10 == 6;
        if (there && mknod(path, S_IFREG | 0644, 0) < 0)
            broken(path);
        switch (i % 10) {
        case 0:
            tell_open("open", path, path, result(call32(OPEN32, text32(low, path), O_RDWR, 0, 0, 0)), 0);
            break;
        case 1:
            tell_open("openat", path, name, result(call32(OPENAT32, dirfd, text32(low, name), O_WRONLY, 0, 0)), 0);
            break;
        case 2:
            tell_open("handle", path, "", by_handle(low, dirfd, path), 0);
            break;
        case 3:
            tell_open("creat", path, path, result(call32(CREAT32, text32(low, path), 0640, 0, 0, 0)), 1);
            break;
        case 4:
            tell_open("openat2", path, name, openat2_32(low, dirfd, name, O_CREAT | O_RDWR, 0600), 1);
            break;
        case 5:
            tell_open("made", path, name,
                      result(call32(OPENAT32, dirfd, text32(low, name), O_CREAT | O_RDWR, 0600, 0)), 1);
            break;
        case 6:
            tell_failed("there", name,
                        result(call32(OPENAT32, dirfd, text32(low, name), O_CREAT | O_EXCL | O_RDWR, 0600, 0)));
            break;
        case 7:
            tell_failed("absent", path, result(call32(OPEN32, text32(low, path), O_RDONLY, 0, 0, 0)));
            break;
        case 8:
            tell_failed("a folder", dir, result(call32(CREAT32, text32(low, dir), 0640, 0, 0, 0)));
            break;
        case 9:
            tell_failed("fault", "", result(call32(OPENAT32, dirfd, 8, O_RDONLY, 0, 0)));
            break;
        }
    }
    return 0;
}

static char *pipe_path;

/* Waits in the call until somebody writes. */
static void *waits(void *nothing)
{
    long fd = result(call32(OPEN32, at(pipe_path), O_RDONLY, 0, 0, 0));
    if (fd < 0)
        broken("a pipe");
    return nothing;
}

/* Whether a task sleeps in a system call, or 0 is not known. */
static int sleeping(void)
{
    char path[64], state;
    int found = 0;
    for (int i = 0; i < THREADS_MAX * 4; i++) {
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid() + 1 + i);
        FILE *file = fopen(path, "re");
        if (!file)
            continue;
        if (fscanf(file, "%*d (%*[^)]) %c", &state) == 1)
            found += state == 'S';
        fclose(file);
    }
    return found;
}

int do_ia32_waiting(int argc, char **argv)
{
    (void)argc;
    long waiting = number(argv[3], THREADS_MAX);
    struct words *low = words_below_4_gib();
    char file[PATH_MAX];
    pthread_t threads[THREADS_MAX];
    snprintf(file, sizeof file, "%s", argv[2]);
    text32(low, argv[1]);
    pipe_path = low->text;
    if (mkfifo(argv[1], 0600) < 0 || mknod(file, S_IFREG | 0644, 0) < 0)
        broken(argv[1]);
    for (long i = 0; i < waiting; i++)
        if (pthread_create(&threads[i], NULL, waits, NULL) != 0)
            broken("pthread_create");
    while (sleeping() < waiting)
        usleep(1000);
    struct words *other = words_below_4_gib();
    tell_open("beside", file, file, result(call32(OPEN32, text32(other, file), O_RDONLY, 0, 0, 0)), 0);
    int writer = (int)syscall(SYS_openat, AT_FDCWD, argv[1], O_RDWR);
    for (long i = 0; i < waiting; i++)
        pthread_join(threads[i], NULL);
    close(writer);
    return 0;
}

int do_ia32_failed_execs(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[2], COUNT_MAX);
    struct words *low = words_below_4_gib();
    long path = text32(low, argv[1]);
    char *text = low->text + strlen(low->text) + 1;
    const char *args[] = {"zero", "", "two words"};
    for (int i = 0; i < 3; i++) {
        strcpy(text, args[i]);
        low->args[i] = (uint32_t)at(text);
        text += strlen(text) + 1;
    }
    low->args[3] = 0;
    for (long i = 0; i < times; i++) {
        const char *kind = "execve";
        long returned;
        switch (i % 3) {
        case 0:
            returned = call32(EXECVE32, path, at(low->args), 0, 0, 0);
            break;
        case 1:
            kind = "execveat";
            returned = call32(EXECVEAT32, AT_FDCWD, path, at(low->args), 0, 0);
            break;
        default:
            kind = "fault";
            returned = call32(EXECVE32, path, 8, 0, 0, 0);
            break;
        }
        if (result(returned) == 0)
            broken("an exec that should fail");
        dprintf(1, "{\"act\":\"exec_failed\",\"pid\":%d,\"kind\":\"%s\",\"errno\":%d}\n", getpid(), kind, errno);
    }
    return 0;
}

/* Every other call through socketcall; the errno. */
static int connected32(struct words *low, long round, int fd, const union address *to, socklen_t len)
{
    low->to = *to;
    low->args[0] = (uint32_t)fd;
    low->args[1] = (uint32_t)at(&low->to);
    low->args[2] = len;
    return (int)-(round % 2 ? call32(SOCKETCALL32, 3, at(low->args), 0, 0, 0)
                            : call32(CONNECT32, fd, at(&low->to), len, 0, 0));
}

int do_ia32_unix(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[2], ATTEMPTS_MAX);
    struct words *low = words_below_4_gib();
    union address there = {.un = {.sun_family = AF_UNIX}}, absent = there;
    snprintf(there.un.sun_path, sizeof there.un.sun_path, "%s", argv[1]);
    snprintf(absent.un.sun_path, sizeof absent.un.sun_path, "%s.absent", argv[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, &there.any, sizeof there.un) < 0 || listen(listener, 4) < 0)
        broken("a unix listener");
    for (long i = 0; i < times; i++) {
        union address *to = i % 4 < 2 ? &there : &absent;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int error = connected32(low, i, fd, to, sizeof to->un);
        if (error == 0)
            close(accept(listener, NULL, NULL));
        net_told("unix", "stream", "", to->un.sun_path, error, "");
        close(fd);
    }
    return 0;
}

int do_ia32_no_route(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    struct words *low = words_below_4_gib();
    union address to = {.in = {.sin_family = AF_INET, .sin_port = htons(4711)}};
    to.in.sin_addr.s_addr = htonl(0xc0000201);
    net_own();
    for (long i = 0; i < times; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int error = connected32(low, i, fd, &to, sizeof to.in);
        if (error != ENETUNREACH)
            broken("a connect without a route");
        net_tell("tcp", NULL, &to, error, "");
        close(fd);
    }
    return 0;
}
