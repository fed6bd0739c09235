/* Whether a command may write a file: asked of every output before work starts.
 *
 * An output never replaces an input of the run, nor a file that is not quadslide's own. Files are the same
 * when device and inode are, whatever they are called and however they are linked. A file is ours when the
 * mark stands in it (QS_FILE_MARK in base/file.h), never by its name; --force replaces only our own. */
#ifndef QS_JOBS_OUTPUTS_H
#define QS_JOBS_OUTPUTS_H

#include <glib.h>
#include <stdbool.h>

typedef struct job_outputs job_outputs;

job_outputs *job_outputs_create(void);
void job_outputs_destroy(job_outputs *outputs); /* NULL accepted */
/* A file that the run reads; NULL and what is not there are passed over. A folder's files are not looked
 * for: name each. */
void job_outputs_input(job_outputs *outputs, const char *path);
/* Slides, masks, truths and tissue masks of a set (jobs/slide_set.h). */
void job_outputs_input_set(job_outputs *outputs, const GArray *set);
/* QS_ERROR_ARG when `path` is an input, a folder, or somebody else's file. Fine when it is not there. */
bool job_outputs_check(const job_outputs *outputs, const char *path, GError **error);
/* The check for one output of a command whose inputs are a set and up to two files (NULL: none). */
bool job_output_check(const char *path, const GArray *set, const char *file, const char *file2,
                      GError **error);
/* A TIFF that cannot be opened any more beside a note of ours: what is left of a mask. */
bool job_is_wreck(const char *path, const char *note);
/* Does the mark stand in this file? */
bool job_is_ours(const char *path);

#endif
