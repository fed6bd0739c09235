/* The patch store: one directory with `index.db` (SQLite, WAL) and one pack file per slide.
 *
 * Invariants
 *  1. Bytes are appended to a pack and synced before the transaction that makes them visible.
 *  2. The database is the only truth; a pack's bytes past the last committed offset are cut off
 *     by the writer that holds the pack's lock, and by no one else.
 *  3. Every grid cell of a slide that was looked at has a row (kept or not), in cell order, so
 *     `max(cell) + 1` is where tiling resumes.
 *  4. Patch size, stride and resolution are one per store.
 *  5. Every blob has a checksum (XXH3-64 of the encoded bytes).
 *
 * A db_store may be used from several threads (it serialises on its connection); a db_writer
 * belongs to one thread; db_patch_read is thread-safe. Strings in rows returned are owned by the
 * row and freed by its clear function. */
#ifndef QS_DB_STORE_H
#define QS_DB_STORE_H

#include "base/classes.h"
#include "base/report.h"

typedef struct db_store db_store;
typedef struct db_writer db_writer;

typedef enum { DB_CODEC_ZSTD, DB_CODEC_JPEG, DB_CODEC_COPY } db_codec;
typedef enum { DB_SPLIT_TRAIN, DB_SPLIT_VAL, DB_SPLIT_TEST } db_split;
typedef enum { DB_SLIDE_PENDING, DB_SLIDE_TILING, DB_SLIDE_DONE, DB_SLIDE_FAILED } db_slide_state;

const char *db_split_name(db_split split); /* "train" "val" "test" */
bool db_split_parse(const char *name, db_split *split);
const char *db_slide_state_name(db_slide_state state); /* "pending" "tiling" "done" "failed" */

/* What is one per store. `grid_rules` is the canonical text of every tiling option that changes
 * which cells exist or are kept (tissue thresholds …): a store refuses to go on with another. */
typedef struct {
    int patch_px;
    int stride_px;
    bool level0; /* patches at level 0 as it is; mpp is then 0 */
    double mpp;  /* wanted µm per pixel */
    db_codec codec;
    int jpeg_quality; /* for DB_CODEC_JPEG, and for patches that DB_CODEC_COPY cannot copy */
    qs_classes classes;
    char *grid_rules; /* owned */
    /* How annotation files become labels (wsi/annot/label_map.h): "" or NULL, the names of the classes.
     */
    char *label_map;      /* owned */
    bool label_order_map; /* painted by the map's order, else by the file's */
    bool bounds_relative; /* their 0,0 is the corner of openslide.bounds-* */
    /* Mask images of 0 and 255 alone: 255 is 0 (auto) class 1 if there are two classes, 1 (binary)
     * class 1, 2 (ignore) ignore. */
    int value_255;
    double mpp_tolerance; /* a level within this share of the wanted resolution is read as it is */
    char *colour;         /* owned; canonical text of what is done to colours; "" or NULL nothing */
} db_store_config;

void db_store_config_clear(db_store_config *config);

/* Opens `dir`; creates it when absent and `config` is given. With `config` given and the store
 * present, every member must agree: QS_ERROR_MISMATCH names the first that does not. */
db_store *db_store_create(const char *dir, const db_store_config *config, GError **error);
/* read_only: no row and no pack is written, and nothing is cut or folded in; works on read-only
 * file systems, where no file is touched at all. In a folder that can be written, where a writer
 * may come at any time, SQLite's own coordination files (-wal, -shm) may appear. */
db_store *db_store_open(const char *dir, bool read_only, GError **error);
void db_store_close(db_store *store); /* NULL accepted */
const db_store_config *db_store_get_config(const db_store *store);
const char *db_store_get_dir(const db_store *store);

/* ---- slides ---------------------------------------------------------------------------- */
typedef struct {
    int64_t id;
    char *name; /* base name without extension, made unique in the store with ~2, ~3 … */
    char *path, *mask_path, *truth_path; /* as opened; mask and truth NULL when there is none */
    char *case_id, *content_hash, *driver, *lane, *mpp_origin, *error;
    char *mask_hash;                 /* content of the mask when its labels were stored */
    char *tissue_path, *tissue_hash; /* the user's tissue mask; NULL without */
    char *colour;                    /* what was done to its colours, with parameters */
    char *stains;                    /* measured on its patches, for training: "macenko 0.5,…" */
    char *notes;                     /* remarks for people, one a line */
    db_split split;
    bool labelled;
    db_slide_state state;
    int64_t w_l0, h_l0;
    double mpp;          /* of level 0; 0 unknown */
    double mpp_file;     /* what the file itself says, right or wrong; 0 nothing usable */
    int level;           /* level read */
    double downsample;   /* level-0 pixels per stored pixel */
    int64_t n_cells;     /* of the grid; -1 until known */
    int64_t n_damaged;   /* damaged regions met */
    int mask_factor;     /* slide size / mask size; 0 without mask */
    double tissue_share; /* of the slide's area, found at low resolution */
} db_slide;

void db_slide_clear(db_slide *slide);
/* Adds, or finds by path and updates what may change (split, labelled, case, mask_path). Sets
 * slide->id, and slide->state from the store. QS_ERROR_MISMATCH when the file's content hash
 * differs from the stored one (replaced under the same name) and the slide has patches. */
bool db_slide_put(db_store *store, db_slide *slide, GError **error);
bool db_slide_update(db_store *store, const db_slide *slide,
                     GError **error);                   /* all columns, by id */
GArray *db_slide_list(db_store *store, GError **error); /* of db_slide, by name; clear func set */

/* ---- patches ----------------------------------------------------------------------------- */
typedef struct {
    int64_t id, slide_id;
    int64_t cell;             /* index in the slide's grid, row-major */
    int64_t x_l0, y_l0;       /* level-0 pixels, top left */
    int64_t w_l0, h_l0;       /* extent at level 0, valid part */
    int32_t valid_w, valid_h; /* pixels of the patch that lie on the slide; the rest is padding */
    int32_t level;
    double mpp;      /* of the stored pixels; 0 unknown */
    bool kept;       /* has pixels */
    char reason[16]; /* why not kept: "tissue", "blank", "damaged" … ; "" when kept */
    float tissue, white, dark, saturation, blur, pen; /* quality numbers */
    int64_t class_px[QS_CLASSES_MAX]; /* valid pixels per class; all 0 without mask */
    int64_t ignore_px;
    bool has_label;
    int64_t offset, n_bytes;             /* image blob in the pack */
    int64_t label_offset, label_n_bytes; /* label blob (zstd); 0 without */
    int32_t format;                      /* how the image is encoded; set by db_writer_add */
    uint64_t checksum, label_checksum;
} db_patch;

/* An encoded blob, made by any thread. */
typedef struct {
    uint8_t *data; /* owned */
    size_t n, capacity;
    int format; /* how it is encoded; 0: as the store's codec does by itself */
} db_blob;

void db_blob_clear(db_blob *blob);
/* rgb (size,size,3) u8. Reuses blob's memory. Thread-safe on different blobs. */
bool db_encode_image(const db_store_config *config, const uint8_t *rgb, int size_px, db_blob *blob,
                     GError **error);
/* A JPEG as it is, for DB_CODEC_COPY, whose other patches are encoded as JPEG. *taken false, and no
 * error, when readers of the store could not decode it: another size, odd chroma sampling, larger
 * than a patch may be. Thread-safe on different blobs. */
void db_copy_jpeg(const uint8_t *jpeg, size_t n, int size_px, db_blob *blob, bool *taken);
/* label (size,size) u8, lossless. */
bool db_encode_label(const uint8_t *label, int size_px, db_blob *blob, GError **error);

/* A batch of a writer: so many cells, or so many bytes (which is its memory). */
enum { DB_WRITER_BATCH = 512, DB_WRITER_BATCH_BYTES = 64 << 20 };

/* Opens the slide's pack for writing: takes its lock (QS_ERROR_BUSY), cuts it to the committed
 * size, and sets *next_cell to where tiling resumes. */
db_writer *db_writer_open(db_store *store, int64_t slide_id, int64_t *next_cell, GError **error);
/* Adds the next cell (cell numbers must rise). For kept patches `image` is given, and `label`
 * when has_label. Batches; commits by itself every DB_WRITER_BATCH cells or
 * DB_WRITER_BATCH_BYTES. Sets patch->id, slide_id, format, offsets, sizes and checksums. After an
 * error of the disk the writer only refuses: close it and open another. */
bool db_writer_add(db_writer *writer, db_patch *patch, const db_blob *image, const db_blob *label,
                   GError **error);
bool db_writer_commit(db_writer *writer, GError **error);
/* Commits, sets the slide DONE (with its final counts from *slide) in the same transaction. */
bool db_writer_finish(db_writer *writer, const db_slide *slide, GError **error);
void db_writer_close(db_writer *writer); /* without finish: uncommitted cells are lost. NULL ok */

/* Patches of a slide (0: all), in (slide, cell) order; kept_only drops rows without pixels. */
GArray *db_patch_list(db_store *store, int64_t slide_id, bool kept_only, GError **error);
/* Reads and decodes, verifying the checksum. rgb (size,size,3) u8 and label (size,size) u8 may
 * each be NULL. A patch without label fills `label` with QS_CLASS_IGNORE. Padding is 255 in label.
 * Thread-safe; allocates nothing after a thread's first call. */
bool db_patch_read(db_store *store, const db_patch *patch, uint8_t *rgb, uint8_t *label,
                   GError **error);

/* ---- damage ledger ------------------------------------------------------------------------ */
typedef enum {
    DB_DAMAGE_DAMAGED, /* cannot be read or decoded: a patch that lies there is not kept */
    DB_DAMAGE_MISSING, /* the file has no bytes for it: the slide's background is there */
    DB_DAMAGE_FILLED,  /* no bytes either: the reader fills it from another level */
} db_damage_kind;
const char *db_damage_kind_name(db_damage_kind kind); /* "damaged" … */
typedef struct {
    int64_t slide_id, x_l0, y_l0, w_l0, h_l0; /* level-0 pixels */
    db_damage_kind kind;
    char *reason; /* owned in rows read, borrowed in rows written */
} db_damage;
/* All in one transaction. A place that is there already gets the new kind and reason. */
bool db_damage_add_many(db_store *store, const db_damage *damage, size_t n, GError **error);
/* Of a slide (0: all), from the top; clear func set. */
GArray *db_damage_list(db_store *store, int64_t slide_id, GError **error);
/* One region that is damaged. */
bool db_damage_add(db_store *store, int64_t slide_id, int64_t x_l0, int64_t y_l0, int64_t w_l0,
                   int64_t h_l0, const char *reason, GError **error);

/* ---- check -------------------------------------------------------------------------------- */
typedef struct {
    int64_t n_slides, n_patches, n_blobs, n_bytes;
    GPtrArray *problems; /* of char *: one line each; empty when the store is sound */
} db_check_report;
void db_check_report_clear(db_check_report *report);
/* SQLite integrity, foreign keys, every blob's range and checksum, cell order, overlaps. */
bool db_store_check(db_store *store, const qs_progress *progress, db_check_report *report,
                    GError **error);

/* ---- runs and metrics ----------------------------------------------------------------------- */
typedef struct {
    int64_t id;
    char *kind;    /* "train", "predict", "eval", "tile" */
    char *name;    /* run directory or label */
    char *config;  /* JSON, every option */
    char *version; /* of the program and of the libraries that matter */
    char *device;  /* "cpu: AMD EPYC …, 2 threads" */
    int64_t seed;
    char *state;                 /* "running", "done", "stopped", "failed" */
    char *started_at, *ended_at; /* ISO 8601, UTC; set by the store, read by db_run_list */
    int64_t n_metrics;           /* rows; read by db_run_list */
} db_run;
void db_run_clear(db_run *run);
bool db_run_begin(db_store *store, db_run *run, GError **error); /* sets id */
bool db_run_end(db_store *store, int64_t run_id, const char *state, GError **error);
GArray *db_run_list(db_store *store, GError **error); /* of db_run, by id; clear func set */
/* slide_id 0: of the whole run. Several programs may log at once (busy timeout). */
bool db_metric_add(db_store *store, int64_t run_id, int64_t step, const char *name, double value,
                   const char *unit, int64_t slide_id, GError **error);
/* Many at one step in one transaction. */
bool db_metric_add_many(db_store *store, int64_t run_id, int64_t step, const char *const *names,
                        const double *values, const char *const *units, size_t n, GError **error);

typedef struct {
    int64_t step, slide_id; /* slide 0: of the whole run */
    double value;           /* NaN is kept */
} db_metric;
GArray *db_metric_list(db_store *store, int64_t run_id, const char *name,
                       GError **error); /* by step */

/* A number of a finished run, with all that belongs to it. */
typedef struct {
    char *name, *unit; /* unit may be NULL */
    int64_t step, slide_id;
    double value;
} db_measure;
/* A run that is over and all its numbers, in one transaction: all are there or none. Sets run->id;
 * run->state as given. */
bool db_run_record(db_store *store, db_run *run, const db_measure *measures, size_t n,
                   GError **error);
/* Every number of a run, of db_measure, by id; clear func set. */
GArray *db_measure_list(db_store *store, int64_t run_id, GError **error);

/* ---- summary ----------------------------------------------------------------------------------
 */
typedef struct {
    int64_t n_slides, n_state[DB_SLIDE_FAILED + 1], n_labelled, n_damaged;
    int64_t n_cells, n_kept;    /* patches looked at; those with pixels */
    int64_t n_with_label;       /* kept ones that have a label at all */
    int64_t n_labelled_patches; /* kept ones whose slide is labelled */
    int64_t n_bytes;            /* of their blobs */
    int64_t class_px[QS_CLASSES_MAX], ignore_px;
} db_split_summary;
typedef struct {
    db_split_summary splits[DB_SPLIT_TEST + 1];
} db_summary;
bool db_store_summarise(db_store *store, db_summary *summary, GError **error);

#endif
