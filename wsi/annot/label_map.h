/* From the names people gave their outlines to the classes of the table:
 *   Tumor=1,Stroma=2,Necrosis=ignore,*=background
 * A value is a class number, a class name, "ignore" (255) or "skip" (the shape is not painted at
 * all).
 * "*" stands for every name that is not listed, an empty name (=1) for shapes without a class. A
 * backslash takes the meaning from a comma, an equals sign, an asterisk or a backslash. Names are
 * compared without regard to case. Immutable after creation. */
#ifndef QS_WSI_LABEL_MAP_H
#define QS_WSI_LABEL_MAP_H

#include "base/classes.h"

typedef struct wsi_label_map wsi_label_map;

enum { WSI_LABEL_UNKNOWN = -1, WSI_LABEL_SKIP = -2 };

/* QS_ERROR_ARG names the entry that cannot be used. NULL text: the names of the class table. */
wsi_label_map *wsi_label_map_create(const char *text, const qs_classes *classes, GError **error);
void wsi_label_map_destroy(wsi_label_map *map);
/* 0..classes-1, QS_CLASS_IGNORE, WSI_LABEL_SKIP, or WSI_LABEL_UNKNOWN. *rank is the entry's place
 * in the map. */
int wsi_label_map_find(const wsi_label_map *map, const char *name, int *rank);
/* Paint by the map's order, later entries over earlier ones, instead of by the file's. */
void wsi_label_map_set_ordered(wsi_label_map *map, bool ordered);
bool wsi_label_map_is_ordered(const wsi_label_map *map);

#endif
