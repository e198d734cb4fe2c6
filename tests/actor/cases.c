/* Opens and execs of rare kinds: files without a name, races on a name, other pid namespaces, each kind of failure. */
#include "actor.h"
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void made(const char *path, mode_t mode)
{
    if (mknod(path, S_IFREG | mode, 0) < 0)
        broken(path);
}

static void ended_well(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        broken("a child");
    if (status != 0)
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : ACTOR_BROKEN);
}

int do_open_cases(int argc, char **argv)
{
    (void)argc;
    char path[PATH_MAX], other[2 * PATH_MAX];
    if (chdir(argv[1]) < 0)
        broken(argv[1]);
    snprintf(path, sizeof path, "%s/f", argv[1]);
    made("f", 0644);
    snprintf(other, sizeof other, "/proc/%d/root%s", own_pid(), path);
    tell_open("another's root", path, other, syscall(SYS_openat, AT_FDCWD, other, O_RDONLY), 0);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, ".", O_TMPFILE | O_RDWR, 0600);
    if (fd >= 0) {
        struct stat file;
        if (fstat(fd, &file) < 0)
            broken("fstat");
        snprintf(other, sizeof other, "%s/#%llu", argv[1], (unsigned long long)file.st_ino);
        tell_open("no name", other, ".", fd, 0);
    }
    if (unshare(CLONE_NEWPID) < 0)
        refused("unshare");
    pid_t pid = fork();
    if (pid == 0) {
        tell_open("a pid namespace", path, "f", syscall(SYS_openat, AT_FDCWD, "f", O_RDONLY), 0);
        _exit(0);
    }
    ended_well(pid);
    return 0;
}

int do_pidns_connect(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    if (unshare(CLONE_NEWPID) < 0)
        refused("unshare");
    pid_t pid = fork();
    if (pid == 0) {
        union address closed, local;
        net_bound(AF_INET, SOCK_STREAM, 0, &closed);
        int fd = net_bound(AF_INET, SOCK_STREAM, 0, &local);
        if (connect(fd, &closed.any, net_size(&closed)) == 0 || errno != ECONNREFUSED)
            broken("a connect that should be refused");
        net_tell("tcp", &local, &closed, ECONNREFUSED, "");
        _exit(0);
    }
    ended_well(pid);
    return 0;
}

static char raced[PATH_MAX];
static int racing = 1;
static unsigned long changes;

static void *racer(void *nothing)
{
    volatile char *last = raced + strlen(raced) - 1;
    while (__atomic_load_n(&racing, __ATOMIC_RELAXED)) {
        *last ^= 'a' ^ 'b';
        __atomic_fetch_add(&changes, 1, __ATOMIC_RELAXED);
    }
    return nothing;
}

int do_raced_opens(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[2], COUNT_MAX);
    struct stat a, file;
    char paths[2][PATH_MAX];
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%c", argv[1], 'a' + i);
        made(paths[i], 0644);
    }
    if (stat(paths[0], &a) < 0)
        broken(paths[0]);
    strcpy(raced, paths[0]);
    if (pthread_create(&thread, NULL, racer, NULL) != 0)
        broken("pthread_create");
    for (long i = 0; i < times; i++) {
        /* Where the CPUs have other work, the thread may not run at all meanwhile. */
        unsigned long before = __atomic_load_n(&changes, __ATOMIC_RELAXED);
        while (i % 10 == 0 && __atomic_load_n(&changes, __ATOMIC_RELAXED) == before)
            sched_yield();
        int fd = (int)syscall(SYS_openat, AT_FDCWD, raced, O_RDONLY);
        if (fd < 0 || fstat(fd, &file) < 0)
            broken(raced);
        tell_open("raced", paths[file.st_ino != a.st_ino], "", fd, 0);
    }
    __atomic_store_n(&racing, 0, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    return 0;
}

int do_open_failures(int argc, char **argv)
{
    (void)argc;
    char name[300];
    struct {
        struct file_handle handle;
        unsigned char room[MAX_HANDLE_SZ];
    } gone = {.handle = {.handle_bytes = MAX_HANDLE_SZ}};
    int mount;
    if (chdir(argv[1]) < 0)
        broken(argv[1]);
    made("secret", 0600);
    made("gone", 0600);
    int dir = (int)syscall(SYS_openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY);
    if (symlink("loop", "loop") < 0 || dir < 0)
        broken("loop");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    tell_failed("open", "absent", open_("absent", O_RDONLY));
    tell_failed("creat", "absent/f", creat_("absent/f", 0600));
    tell_failed("creat", ".", creat_(".", 0600));
    tell_failed("a folder", ".", syscall(SYS_openat, AT_FDCWD, ".", O_WRONLY));
    tell_failed("a long name", name, syscall(SYS_openat, AT_FDCWD, name, O_RDONLY));
    tell_failed("a loop", "loop", syscall(SYS_openat, AT_FDCWD, "loop", O_RDONLY));
    if (name_to_handle_at(AT_FDCWD, "gone", &gone.handle, &mount, 0) == 0 && unlink("gone") == 0)
        tell_failed("handle", "", open_by_handle_at(dir, &gone.handle, O_RDONLY));
    if (setresuid(34567, 34567, 34567) < 0)
        refused("setresuid");
    tell_failed("a secret", "secret", syscall(SYS_openat, AT_FDCWD, "secret", O_RDONLY));
    tell_failed("a secret by openat2", "secret", openat2_(AT_FDCWD, "secret", O_RDONLY, 0));
    return 0;
}

static void failed_exec(const char *kind, const char *path, char **args)
{
    char *none[] = {NULL};
    if (syscall(SYS_execve, path, args, none) >= 0)
        broken(path);
    dprintf(1, "{\"act\":\"exec_failed\",\"pid\":%d,\"tid\":%d,\"kind\":\"%s\",\"path\":\"%s\",\"errno\":%d}\n", getpid(),
            (int)syscall(SYS_gettid), kind, path, errno);
}

static void *from_a_thread(void *path)
{
    char zero[] = "zero";
    failed_exec("thread", path, (char *[]){zero, NULL});
    return NULL;
}

int do_exec_failures(int argc, char **argv)
{
    (void)argc;
    char zero[] = "zero", path[64];
    char *args[] = {zero, NULL}, *large = malloc(1 << 20);
    pthread_t thread;
    if (chdir(argv[1]) < 0 || !large)
        broken(argv[1]);
    made("plain", 0644);
    made("empty", 0755);
    memset(large, 'x', (1 << 20) - 1);
    large[(1 << 20) - 1] = 0;
    /* On the stack, which is there. */
    failed_exec("no permission", strcpy(path, "./plain"), args);
    failed_exec("a folder", strcpy(path, "."), args);
    failed_exec("no format", strcpy(path, "./empty"), args);
    failed_exec("too large", strcpy(path, "./empty"), (char *[]){zero, large, NULL});
    if (pthread_create(&thread, NULL, from_a_thread, strcpy(path, "./absent")) != 0)
        broken("pthread_create");
    pthread_join(thread, NULL);
    return 0;
}

/* Of a name and arguments of any bytes, told by the pid alone. */
int do_exec_nowhere(int argc, char **argv)
{
    (void)argc;
    char *none[] = {NULL};
    if (syscall(SYS_execve, argv[1], argv + 1, none) >= 0)
        broken("an exec that should fail");
    dprintf(1, "{\"act\":\"exec_failed\",\"pid\":%d,\"errno\":%d}\n", getpid(), errno);
    return 0;
}

/* A 32-bit call that starts PATH with the rest as its arguments. */
int do_exec32(int argc, char **argv)
{
    struct {
        uint32_t args[16];
        char text[4096];
    } *low = low_memory();
    if (!low)
        refused("int 0x80");
    size_t used = 0;
    for (int i = 1; i < argc && i < 15; i++) {
        low->args[i - 1] = (uint32_t)(uintptr_t)(low->text + used);
        used += (size_t)snprintf(low->text + used, sizeof low->text - used, "%s", argv[i]) + 1;
    }
    int file = open(argv[1], O_PATH | O_CLOEXEC);
    tell_file(file);
    uint64_t began = now_ns();
    pid_t pid = fork();
    if (pid == 0) {
        call32(11, (long)(uintptr_t)low->text, (long)(uintptr_t)low->args, 0, 0, 0);
        _exit(ACTOR_EXEC_FAILED);
    }
    struct child child = reap(pid, began);
    tell_child(&child, "");
    return 0;
}
