/* How a command ended, as its exit status says it: for front ends, and for who runs commands. */
#ifndef QS_JOBS_EXIT_H
#define QS_JOBS_EXIT_H

typedef enum {
    JOB_EXIT_DONE = 0,
    JOB_EXIT_FAILED = 1,
    JOB_EXIT_USAGE = 2,
    JOB_EXIT_PARTLY = 3 /* done, but some slides or runs failed */
} job_exit;

#endif
