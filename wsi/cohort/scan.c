/* Folders of pictures or slides and of masks into a cohort.
 *
 * A file's key is its stem, in Unicode's composed form (a name from macOS and the same from Linux
 * differ in bytes). A mask's key is that without its suffix ("a_mask.png" is a's). Image and mask
 * are paired
 *   1. by key and subfolder,
 *   2. by key alone, when one mask has it,
 *   3. by a prefix that one of the two lacks ("18-0123_a.jpg" and "a_mask.jpg"), when one mask
 * fits. Two masks that fit equally are an error that names both: a wrong mask is worse than none.
 */
#include "wsi/cohort/cohort_priv.h"

#include "base/error.h"

#include <string.h>

static const char *const SLIDE_EXTENSIONS[] = {"svs", "tif", "tiff",    "ndpi", "mrxs", "scn",
                                               "vms", "vmu", "svslide", "bif",  NULL};
static const char *const PICTURE_EXTENSIONS[] = {"jpg", "jpeg", "png", NULL};
static const char *const MASK_EXTENSIONS[] = {"png",  "tif", "tiff",    "jpg",
                                              "jpeg", "xml", "geojson", NULL};
/* Longest first, so that "_masks" does not leave "s". Compared without case. */
static const char *const MASK_SUFFIXES[] = {
    "_segmentation", "_annotations", "_annotation", "_labels", "_masks",
    "_label",        "_truth",       "_mask",       "_anno",   "-mask",
    ".mask",         " mask",        "_seg",        "_gt",     NULL};

typedef struct {
    char *path, *folder, *key; /* folder: below the one that was named, "" on top */
    bool suffixed;             /* a mask by its name */
    bool used;
} found_file;

typedef struct {
    const char *root, *suffix; /* suffix NULL: the usual ones */
    const char *const *const *extensions;
    GArray *files; /* of found_file */
} finder;

static void file_clear(gpointer data)
{
    found_file *f = data;
    g_free(f->path);
    g_free(f->folder);
    g_free(f->key);
}

static bool is_one_of(const char *extension, const char *const *const *lists)
{
    for (; *lists; lists++)
        for (const char *const *e = *lists; *e; e++)
            if (!g_ascii_strcasecmp(extension, *e))
                return true;
    return false;
}

static bool cut_suffix(char *key, const char *suffix)
{
    size_t n = strlen(key), k = strlen(suffix);
    if (n <= k || g_ascii_strcasecmp(key + n - k, suffix))
        return false;
    key[n - k] = '\0';
    return true;
}

static void take_file(void *user, const char *path, const char *name)
{
    finder *f = user;
    const char *dot = strrchr(name, '.');
    if (name[0] == '.' || !dot || dot == name || !is_one_of(dot + 1, f->extensions))
        return;
    g_autofree char *stem = g_strndup(name, (gsize)(dot - name));
    found_file file = {.path = g_strdup(path)};
    file.key = g_utf8_normalize(stem, -1, G_NORMALIZE_NFC);
    if (!file.key) /* no UTF-8: bytes it is */
        file.key = g_steal_pointer(&stem);
    if (f->suffix)
        file.suffixed = cut_suffix(file.key, f->suffix);
    for (const char *const *s = f->suffix ? NULL : MASK_SUFFIXES; s && *s && !file.suffixed; s++)
        file.suffixed = cut_suffix(file.key, *s);
    g_autofree char *dir = g_path_get_dirname(path);
    size_t n = strlen(f->root);
    const char *below = strlen(dir) > n ? dir + n : "";
    file.folder = g_strdup(below + strspn(below, "/"));
    g_array_append_val(f->files, file);
}

static GArray *find_files(const char *root, const char *suffix,
                          const char *const *const *extensions, GError **error)
{
    finder f = {.root = root, .suffix = suffix, .extensions = extensions};
    f.files = g_array_new(FALSE, TRUE, sizeof(found_file));
    g_array_set_clear_func(f.files, file_clear);
    if (!wsi_cohort_walk(root, take_file, &f, error))
        g_clear_pointer(&f.files, g_array_unref);
    return f.files;
}

/* ---- pairing ---- */
/* Whether one is the other behind a prefix that ends at a joint. */
static bool differ_by_prefix(const char *a, const char *b)
{
    const char *longer = strlen(a) > strlen(b) ? a : b, *shorter = longer == a ? b : a;
    size_t n = strlen(longer), k = strlen(shorter);
    return k > 0 && n > k + 1 && !strcmp(longer + n - k, shorter) &&
           strchr("_- .", longer[n - k - 1]);
}

/* How well a mask fits, by the rules of the head comment; 0 not at all. */
static int fit(const found_file *image, const found_file *mask)
{
    if (!strcmp(image->key, mask->key))
        return strcmp(image->folder, mask->folder) ? 2 : 3;
    return differ_by_prefix(image->key, mask->key) ? 1 : 0;
}

/* The mask that fits best, in *best (NULL none). False when two fit equally well. */
static bool best_mask(const found_file *image, GArray *masks, found_file **best, GError **error)
{
    int best_fit = 0;
    const found_file *rival = NULL;
    *best = NULL;
    for (guint i = 0; i < masks->len; i++) {
        found_file *mask = &g_array_index(masks, found_file, i);
        int f = strcmp(mask->path, image->path) ? fit(image, mask) : 0;
        if (f == 0 || f < best_fit)
            continue;
        rival = f == best_fit ? mask : NULL;
        *best = f == best_fit ? *best : mask;
        best_fit = f;
    }
    if (!rival)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s: both '%s' and '%s' could be its mask; rename one, or pass --mask-suffix",
                image->path, (*best)->path, rival->path);
    return false;
}

/* ---- cases ---- */
typedef struct {
    const char *rule;
    GRegex *regex; /* NULL: by name or folder */
} case_rule;

static bool rule_init(case_rule *r, const char *rule, GError **error)
{
    *r = (case_rule){.rule = rule ? rule : "name"};
    if (!strcmp(r->rule, "name") || !strcmp(r->rule, "folder"))
        return true;
    GError *local = NULL;
    r->regex = g_regex_new(rule, 0, 0, &local);
    if (r->regex && g_regex_get_capture_count(r->regex) == 1)
        return true;
    g_set_error(
        error, QS_ERROR, QS_ERROR_ARG,
        "--case '%s': give name, folder, or a regular expression with one group that is the "
        "case, e.g. '^([^_]+)_'%s%s",
        rule, local ? ": " : "", local ? local->message : "");
    g_clear_error(&local);
    g_clear_pointer(&r->regex, g_regex_unref);
    return false;
}

/* TCGA-XX-XXXX is the patient in a TCGA barcode; elsewhere a name alone says nothing. */
static char *case_of_name(const char *key)
{
    g_autoptr(GRegex) tcga = g_regex_new("^(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})(?![A-Z0-9])", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    return g_regex_match(tcga, key, 0, &match) ? g_match_info_fetch(match, 1) : g_strdup(key);
}

static char *case_of(const case_rule *r, const found_file *image, GError **error)
{
    char *id = NULL;
    if (r->regex) {
        g_autoptr(GMatchInfo) match = NULL;
        if (g_utf8_validate(image->key, -1, NULL) && g_regex_match(r->regex, image->key, 0, &match))
            id = g_match_info_fetch(match, 1);
    } else if (!strcmp(r->rule, "folder")) {
        g_autofree char *dir = g_path_get_dirname(image->path);
        id = g_path_get_basename(dir);
    } else {
        id = case_of_name(image->key);
    }
    if (id && *id)
        return id;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: the case rule '%s' finds no case in '%s'; widen it, so that leaks can be seen",
                image->path, r->rule, image->key);
    g_free(id);
    return NULL;
}

static void warn_lonely(const GArray *images)
{
    g_autoptr(GHashTable) cases = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < images->len; i++)
        g_hash_table_add(cases, g_array_index(images, wsi_cohort_image, i).case_id);
    if (images->len > 1 && g_hash_table_size(cases) == images->len)
        qs_warn(
            "each of the %u images is a case of its own; where several are of one patient, say how "
            "the case is found with --case",
            images->len);
}

/* ---- both layouts ---- */
/* A mask that two images took is a mistake in the names. */
static bool use_mask(found_file *mask, const found_file *image, GError **error)
{
    if (!mask->used) {
        mask->used = true;
        return true;
    }
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s: is the mask of two images, one of them '%s'; give each image its own",
                mask->path, image->path);
    return false;
}

static bool add_images(GArray *images, GArray *files, GArray *masks, bool same_root,
                       const case_rule *rule, GError **error)
{
    for (guint i = 0; i < files->len; i++) {
        const found_file *file = &g_array_index(files, found_file, i);
        if (same_root && file->suffixed) /* a mask among the images */
            continue;
        found_file *mask = NULL;
        wsi_cohort_image im = {0};
        if (masks && !best_mask(file, masks, &mask, error))
            return false;
        if (mask && !use_mask(mask, file, error))
            return false;
        im.case_id = case_of(rule, file, error);
        if (!im.case_id)
            return false;
        im.path = g_strdup(file->path);
        im.mask = mask ? g_strdup(mask->path) : NULL;
        g_array_append_val(images, im);
    }
    return true;
}

static void warn_unused(const GArray *masks, bool same_root)
{
    guint n = 0;
    const char *first = NULL;
    for (guint i = 0; i < masks->len; i++) {
        const found_file *mask = &g_array_index(masks, found_file, i);
        if (mask->used || (same_root && !mask->suffixed))
            continue;
        first = n++ ? first : mask->path;
    }
    if (n)
        qs_warn("%u masks belong to no image, the first is '%s'", n, first);
}

/* Of one folder that holds both, what is a mask by its name or an annotation file. */
static void keep_masks(GArray *masks)
{
    for (guint i = masks->len; i-- > 0;) {
        const found_file *f = &g_array_index(masks, found_file, i);
        const char *dot = strrchr(f->path, '.');
        if (!f->suffixed && g_ascii_strcasecmp(dot, ".xml") && g_ascii_strcasecmp(dot, ".geojson"))
            g_array_remove_index(masks, i);
    }
}

static wsi_cohort *scan(const char *dir, const char *mask_dir, const char *const *const *extensions,
                        const wsi_cohort_split_options *options, GError **error)
{
    static const char *const *const mask_extensions[] = {MASK_EXTENSIONS, NULL};
    bool same_root = !mask_dir || !strcmp(mask_dir, dir);
    case_rule rule;
    if (!wsi_cohort_check_options(options, error) || !rule_init(&rule, options->case_rule, error))
        return NULL;
    wsi_cohort *cohort = NULL;
    g_autoptr(GArray) images = wsi_cohort_images_new();
    GArray *files = find_files(dir, options->mask_suffix, extensions, error);
    GArray *masks =
        files ? find_files(same_root ? dir : mask_dir, options->mask_suffix, mask_extensions, error)
              : NULL;
    if (masks && same_root)
        keep_masks(masks);
    if (masks && add_images(images, files, masks, same_root, &rule, error)) {
        if (images->len == 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: no slide or image was found there",
                        dir);
        } else {
            warn_unused(masks, same_root);
            warn_lonely(images);
            cohort = wsi_cohort_assemble(images, options, error);
        }
    }
    g_clear_pointer(&files, g_array_unref);
    g_clear_pointer(&masks, g_array_unref);
    g_clear_pointer(&rule.regex, g_regex_unref);
    return cohort;
}

wsi_cohort *wsi_cohort_scan_pairs(const char *images, const char *masks,
                                  const wsi_cohort_split_options *options, GError **error)
{
    static const char *const *const extensions[] = {SLIDE_EXTENSIONS, PICTURE_EXTENSIONS, NULL};
    return scan(images, masks, extensions, options, error);
}

wsi_cohort *wsi_cohort_scan_slides(const char *dir, const char *masks,
                                   const wsi_cohort_split_options *options, GError **error)
{
    static const char *const *const extensions[] = {SLIDE_EXTENSIONS, NULL};
    return scan(dir, masks, extensions, options, error);
}
