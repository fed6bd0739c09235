/* The class table that travels with cohort, store, model and export: id, name, colour.
 * Class 0 is background; 255 means "ignore this pixel". Plain value, copied freely. */
#ifndef QS_BASE_CLASSES_H
#define QS_BASE_CLASSES_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { QS_CLASSES_MAX = 16, QS_CLASS_IGNORE = 255 };

typedef struct {
    char name[32];
    uint8_t rgb[3];
} qs_class;

typedef struct {
    int n; /* 2..QS_CLASSES_MAX */
    qs_class items[QS_CLASSES_MAX];
} qs_classes;

/* background / foreground, the table of a binary mask. */
void qs_classes_init_binary(qs_classes *classes, const char *foreground_name);
/* n classes named "background", "class 1", … with distinct colours. */
void qs_classes_init_n(qs_classes *classes, int n);
bool qs_classes_equal(const qs_classes *a, const qs_classes *b);
/* One line: "background:#000000,tumour:#c80000". Owned by the caller. */
char *qs_classes_to_text(const qs_classes *classes);
bool qs_classes_from_text(qs_classes *classes, const char *text, GError **error);

#endif
