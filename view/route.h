/* An address into what it asks for. Everything in an address is a word of a table or a decimal
 * number: nothing is a path, and what is not in the table is nothing. */
#ifndef QS_VIEW_ROUTE_H
#define QS_VIEW_ROUTE_H

#include "view/request.h"

typedef enum {
    VW_ROUTE_PAGE,
    VW_ROUTE_WEB,   /* name */
    VW_ROUTE_SHOWN, /* what there is */
    VW_ROUTE_WORKLIST,
    VW_ROUTE_RUN,      /* run, x: the byte from which its log is wanted */
    VW_ROUTE_SNAPSHOT, /* run, x: the iteration */
    VW_ROUTE_SLIDE,    /* slide: its levels and layers */
    VW_ROUTE_DRAFT,    /* slide; PUT too */
    VW_ROUTE_SHAPE,    /* slide; POST */
    VW_ROUTE_ACCEPT,   /* slide, model, x, y; POST */
    VW_ROUTE_AT,       /* slide, x, y */
    VW_ROUTE_TILE,     /* slide, level, x, y */
    VW_ROUTE_THUMB,    /* slide */
    VW_ROUTE_PLANE,    /* slide, plane, model, level, x, y */
} vw_route_kind;

typedef enum {
    VW_PLANE_LABEL, /* of a prediction */
    VW_PLANE_PROB,
    VW_PLANE_UNC,
    VW_PLANE_TRUTH,
    VW_PLANE_ANNOT,
    VW_PLANE_TISSUE,
    VW_PLANE_CELLS,
    VW_PLANE_ERROR, /* a prediction against the truth */
    VW_PLANE_DIFF,  /* a prediction against the first one */
    VW_PLANES
} vw_plane;
const char *vw_plane_name(vw_plane plane);

typedef struct {
    vw_route_kind kind;
    vw_plane plane;
    int slide, model, level, run;
    int64_t x, y;
    char name[32]; /* of an embedded file: letters, digits, dot, dash */
} vw_route;

/* `rest` is what follows the token. 0, or the status of the refusal: 404 no such address, 405 not
 * by this method. */
unsigned vw_route_parse(const char *rest, vw_method method, vw_route *route);

#endif
