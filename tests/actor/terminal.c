/* A terminal of so many columns, in which a command runs; what the command writes to it goes to stdout. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

int do_terminal(int argc, char **argv)
{
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)number(argv[1], 10000)};
    if (argc < 4 || strcmp(argv[2], "--") != 0)
        return ACTOR_USAGE;
    int ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (ours < 0 || grantpt(ours) < 0 || unlockpt(ours) < 0)
        refused("a pseudo terminal");
    int theirs = open(ptsname(ours), O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios mode;
    if (theirs < 0 || tcgetattr(theirs, &mode) < 0)
        refused("the other side of a terminal");
    /* A newline stays one byte. */
    cfmakeraw(&mode);
    if (tcsetattr(theirs, TCSANOW, &mode) < 0 || ioctl(theirs, TIOCSWINSZ, &size) < 0)
        broken("a terminal's size");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(theirs, 1);
        execv(argv[3], argv + 3);
        broken(argv[3]);
    }
    close(theirs);
    dprintf(1, "{\"act\":\"terminal\",\"pid\":%d}\n", pid);
    char part[65536];
    ssize_t len;
    /* EIO: the other side is closed. */
    while ((len = read(ours, part, sizeof part)) > 0)
        for (ssize_t done = 0, more; done < len; done += more)
            if ((more = write(1, part + done, (size_t)(len - done))) <= 0)
                broken("write");
    int status;
    if (waitpid(pid, &status, 0) < 0)
        broken("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : ACTOR_BROKEN;
}
