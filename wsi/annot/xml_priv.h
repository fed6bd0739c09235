/* XML as a stream of elements: the two XML formats need no more. Through libxml2, which reads
 * byte-order marks, Latin-1, UTF-16 and DTDs. Nothing is fetched: no external entity, no external
 * DTD, no network; internal entities are expanded within libxml2's limits, and a file can never
 * grow beyond its own size by them (a reader's elements are counted against the file's bytes). */
#ifndef QS_WSI_ANNOT_XML_PRIV_H
#define QS_WSI_ANNOT_XML_PRIV_H

#include <glib.h>
#include <stdbool.h>

typedef struct {
    /* attributes: name, value, name, value, …, NULL (or NULL when there are none), UTF-8. */
    bool (*start)(void *user, const char *element, const char *const *attributes, GError **error);
    bool (*end)(void *user, const char *element, GError **error);
    void *user;
} wsi_xml_handler;

/* Errors carry file and line. */
bool wsi_xml_parse(const char *path, const wsi_xml_handler *handler, GError **error);
/* NULL when it is not there. */
const char *wsi_xml_attribute(const char *const *attributes, const char *name);
/* False with QS_ERROR_FORMAT when it is missing or no number. */
bool wsi_xml_number(const char *const *attributes, const char *name, double *value, GError **error);
/* Is the first element of this text, after declarations and comments, called `element`? */
bool wsi_xml_root_is(const char *head, size_t n, const char *element);

#endif
