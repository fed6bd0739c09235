/* What came in and what goes out, without a network library: http.c alone knows that one, so that
 * all rules of this room can be tested on structs. */
#ifndef QS_VIEW_REQUEST_H
#define QS_VIEW_REQUEST_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { VW_GET, VW_PUT, VW_POST, VW_OTHER } vw_method;

/* A header that the rules look at: its value where it came once. */
typedef struct {
    const char *value; /* NULL when it did not come */
    int n;             /* how often it came */
} vw_header;

typedef struct {
    vw_method method;
    const char *target; /* path and query as they came, nothing decoded */
    vw_header host, origin, fetch_site, own, if_match;
    const uint8_t *body;
    size_t n_body;
} vw_request;

/* Fields are owned; clear frees them. */
typedef struct {
    unsigned status;
    const char *type; /* of the body, static */
    GBytes *body;     /* owned; NULL empty */
    bool gzip, keep;  /* the body is compressed; the browser may keep it for this page's life */
    char *etag;       /* owned; NULL none */
} vw_answer;
void vw_answer_clear(vw_answer *answer);
/* Status and {"error":message}; takes the error (NULL: `status` says enough). */
void vw_answer_fail(vw_answer *answer, unsigned status, GError *error);
void vw_answer_bytes(vw_answer *answer, const char *type, GBytes *body); /* 200; takes the body */

#endif
