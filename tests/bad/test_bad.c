/* Every class of bad input of cases.ini against the program: made by its recipe, given to the
 * commands that it names, each of which must end with its exit status and say the expected words,
 * naming the file. After it the store that was there is still whole.
 *
 *   test_bad            the cases
 *   test_bad --mutants  takes each case's check out of a copy of its source file (a text that must
 * be there once), compiles and links the program again, and demands that the case fails test_bad
 * --doc      prints the table of docs/bad-input.md test_bad --show     prints what the program
 * says, to write a case by QS_BAD_ONLY=NAME limits the first two and the last to one case. */
#include "tests/bad/recipes.h"

#include <glib.h>
#include <glib/gstdio.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* What a command word of a case stands for; {…} is filled in. Every case that opens a slide is
 * given to all four of the first, unless it says otherwise. */
static const struct {
    const char *name, *line;
} commands[] = {
    {"info", "info {file}"},
    {"plan", "plan --level0 --patch 128 {options} {file}"},
    {"tile", "tile --level0 --patch 128 --quiet --store {store} {options} {file}"},
    {"predict", "predict --model {model} --out {out} --quiet {options} {file}"},
    {"mpp", "tile --mpp 0.5 --patch 128 --quiet --store {store} {options} {file}"},
    {"mask", "tile --level0 --patch 128 --quiet --store {store} {options} --labelled --mask {file} "
             "{slide}"},
    {"cohort", "tile --level0 --patch 128 --quiet --store {store} {options} --cohort {file}"},
    {"check", "cohort check {file}"},
    {"ledger", "status --damage {store}"},
    {"notes", "status --json {store}"},
    {"any", "{options}"},
};

typedef struct {
    char *name, *what, *recipe, *file; /* file: its base name */
    char **runs;                       /* "info", "plan=0", "tile=0~" */
    char *says, *options;
    char *mutate, *find, *put; /* the check: source file, text, what it becomes */
} bad_case;

static struct {
    char *dir, *slide, *mask, *model, *ini, *program;
    const char *source, *build;
    GPtrArray *cases; /* of bad_case */
} here;

static char *source_path(const char *name)
{
    return g_build_filename(here.source, name, NULL);
}

static char *under(const char *a, const char *b)
{
    return g_build_filename(here.dir, a, b, NULL);
}

/* ---- running
 * ------------------------------------------------------------------------------------- */
static int run(const char *program, const char *dir, char **args, char **said)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    char *out = NULL, *err = NULL;
    int wait_status = 0;
    /* A program without its check may wait for ever; nothing here takes a tenth of this. */
    const char *const limit[] = {"timeout", "--signal=KILL", "60", program};
    for (size_t i = 0; i < G_N_ELEMENTS(limit); i++)
        g_ptr_array_add(argv, (gpointer)(uintptr_t)limit[i]);
    for (; *args; args++)
        g_ptr_array_add(argv, *args);
    g_ptr_array_add(argv, NULL);
    if (!g_spawn_sync(dir, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err,
                      &wait_status, &error))
        g_error("%s: %s", program, error->message);
    *said = g_strconcat(err, out, NULL);
    g_free(out);
    g_free(err);
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

static int run_line(const char *program, const char *dir, const char *line, char **said)
{
    g_auto(GStrv) args = NULL;
    GError *error = NULL;
    if (!g_shell_parse_argv(line, NULL, &args, &error))
        g_error("%s: %s", line, error->message);
    return run(program, dir, args, said);
}

static void must(const char *line)
{
    g_autofree char *said = NULL;
    int status = run_line(here.program, here.dir, line, &said);
    if (status != 0)
        g_error("%s: status %d: %s", line, status, said);
}

static void prepare(void)
{
    here.dir = g_dir_make_tmp("quadslide-bad-XXXXXX", NULL);
    must("synth --quiet --out good --train 2 --labelled 1 --val 0 --test 0 --size 768 --seed 3");
    must(
        "tile --quiet --store good/store --cohort good/cohort.csv --level0 --patch 64 --no-tissue");
    must("train --quiet --store good/store --method SL --out good/run --iterations 1 "
         "--batch-labelled 1 "
         "--batch-unlabelled 0 --val-every 0 --threads 1");
    here.slide = under("good", "slides/slide_01.tif");
    here.mask = under("good", "masks/slide_01.tif");
    here.model = under("good", "run/last.safetensors");
}

static void clean(void)
{
    if (!here.dir)
        return;
    g_autofree char *said = NULL;
    char *args[] = {(char *)(uintptr_t) "-rf", here.dir, NULL};
    run("/bin/rm", NULL, args, &said);
}

/* ---- cases
 * --------------------------------------------------------------------------------------- */
static char *value(GKeyFile *ini, const char *name, const char *key, bool required)
{
    char *text = g_key_file_get_string(ini, name, key, NULL);
    if (!text && required)
        g_error("cases.ini: [%s] has no %s", name, key);
    return text;
}

static void read_cases(void)
{
    g_autoptr(GKeyFile) ini = g_key_file_new();
    GError *error = NULL;
    here.ini = source_path("tests/bad/cases.ini");
    if (!g_key_file_load_from_file(ini, here.ini, G_KEY_FILE_NONE, &error))
        g_error("%s: %s", here.ini, error->message);
    g_auto(GStrv) names = g_key_file_get_groups(ini, NULL);
    here.cases = g_ptr_array_new();
    for (char **name = names; *name; name++) {
        bad_case *c = g_new0(bad_case, 1);
        c->name = g_strdup(*name);
        c->what = value(ini, *name, "what", true);
        c->recipe = value(ini, *name, "recipe", true);
        c->file = value(ini, *name, "file", false);
        c->says = value(ini, *name, "says", true);
        c->options = value(ini, *name, "options", false);
        g_autofree char *runs = value(ini, *name, "runs", true);
        c->runs = g_strsplit(g_strstrip(runs), " ", -1);
        c->mutate = value(ini, *name, "check", true);
        c->find = value(ini, *name, "find", true);
        c->put = value(ini, *name, "put", true);
        if (!c->file)
            c->file = g_strdup("bad.tif");
        g_ptr_array_add(here.cases, c);
    }
}

static char *fill(const bad_case *c, const char *line, const char *dir, const char *file)
{
    g_autoptr(GString) text = g_string_new(line);
    const char *const pairs[][2] = {{"{options}", c->options ? c->options : ""},
                                    {"{file}", file},
                                    {"{slide}", here.slide},
                                    {"{mask}", here.mask},
                                    {"{model}", here.model},
                                    {"{source}", here.source},
                                    {"{dir}", dir}};
    g_autofree char *store = g_build_filename(dir, "store", NULL),
                    *out = g_build_filename(dir, "out", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++)
        g_string_replace(text, pairs[i][0], pairs[i][1], 0);
    g_string_replace(text, "{store}", store, 0);
    g_string_replace(text, "{out}", out, 0);
    return g_strdup(text->str);
}

static const char *line_of(const char *command, const bad_case *c)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i].name, command))
            return commands[i].line;
    g_error("cases.ini: [%s] runs %s, which is no command", c->name, command);
}

/* What is wrong with how the program took one command of the case, owned; NULL when it did as it
 * should. */
static char *try_command(const bad_case *c, const char *program, const char *dir, const char *file,
                         const char *word, bool show)
{
    g_auto(GStrv) parts = g_strsplit(word, "=", 2);
    g_autofree char *line = fill(c, line_of(parts[0], c), dir, file), *said = NULL;
    /* A status with "~" behind it: what the command says is another's to say. */
    bool must_say = !g_str_has_suffix(word, "~");
    int want = parts[1] ? atoi(parts[1]) : 1, status = run_line(program, dir, line, &said);
    if (show)
        printf("[%s] %s -> %d\n%s\n", c->name, parts[0], status, said);
    g_auto(GStrv) words = g_strsplit(c->says, " … ", -1);
    for (char **w = words; *w && must_say && status == want; w++)
        if (!strstr(said, *w))
            return g_strdup_printf("%s: \"%s\" is not in: %s", parts[0], *w, said);
    if (status != want)
        return g_strdup_printf("%s: status %d, wanted %d: %s", parts[0], status, want, said);
    return NULL;
}

/* A store that the commands made or met must be whole after them. */
static char *check_store(const bad_case *c, const char *dir)
{
    g_autofree char *store = g_build_filename(dir, "store", NULL), *said = NULL;
    if (!g_file_test(store, G_FILE_TEST_IS_DIR))
        return NULL;
    char *args[] = {(char *)(uintptr_t) "check", store, NULL};
    int status = run(here.program, dir, args, &said);
    return status == 0 ? NULL : g_strdup_printf("%s: the store is not whole: %s", c->name, said);
}

/* One recipe, or several with "then" between them, each on what the one before made. */
static void follow(const bad_case *c, const char *file)
{
    g_auto(GStrv) steps = g_strsplit(c->recipe, " then ", -1);
    for (int i = 0; steps[i]; i++) {
        g_auto(GStrv) words = g_strsplit(steps[i], " ", -1);
        if (!strcmp(words[0], "none"))
            continue;
        if (!bad_recipe(words, i ? file : here.slide, here.mask, file))
            g_error("cases.ini: [%s] has an unknown recipe: %s", c->name, steps[i]);
    }
}

/* NULL when all is as it should be. */
static char *try_case(const bad_case *c, const char *program, bool show)
{
    static int n;
    g_autofree char *number = g_strdup_printf("%d-%s", n++, c->name), *dir = under(number, NULL);
    g_autofree char *file = g_build_filename(dir, c->file, NULL);
    g_assert_cmpint(g_mkdir_with_parents(dir, 0777), ==, 0);
    follow(c, file);
    char *fault = NULL;
    for (char **word = c->runs; *word && !fault; word++)
        fault = try_command(c, program, dir, file, *word, show);
    return fault ? fault : check_store(c, dir);
}

static void test_case(gconstpointer data)
{
    g_autofree char *fault = try_case(data, here.program, false);
    if (fault) {
        g_test_message("%s", fault);
        g_test_fail();
    }
}

static void show_all(void)
{
    const char *only = g_getenv("QS_BAD_ONLY");
    for (guint i = 0; i < here.cases->len; i++) {
        const bad_case *c = here.cases->pdata[i];
        if (only && strcmp(only, c->name))
            continue;
        g_autofree char *fault = try_case(c, here.program, true);
        printf("%s: %s\n\n", c->name, fault ? fault : "as it should be");
    }
}

/* ---- mutants
 * ------------------------------------------------------------------------------------- */
/* The command that built an object or the program, from Ninja's own list. */
static char *build_command(const char *target)
{
    g_autofree char *said = NULL;
    char *args[] = {(char *)(uintptr_t) "-C",
                    (char *)(uintptr_t)here.build,
                    (char *)(uintptr_t) "-t",
                    (char *)(uintptr_t) "commands",
                    (char *)(uintptr_t) "-s",
                    (char *)(uintptr_t)target,
                    NULL};
    g_autofree char *ninja = g_find_program_in_path("ninja");
    if (!ninja || run(ninja, NULL, args, &said) != 0)
        g_error("ninja -t commands %s: %s", target, said ? said : "no ninja");
    g_auto(GStrv) lines = g_strsplit(g_strstrip(said), "\n", -1);
    return g_strdup(lines[g_strv_length(lines) - 1]);
}

static void shell(const char *line)
{
    g_autofree char *said = NULL;
    char *args[] = {(char *)(uintptr_t) "-c", (char *)(uintptr_t)line, NULL};
    if (run("/bin/sh", here.build, args, &said) != 0)
        g_error("%s\n%s", line, said);
}

/* The source with the check taken out; false when it is not there to take. */
static bool write_mutant(const bad_case *c, const char *path)
{
    g_autofree char *from = source_path(c->mutate), *text = NULL;
    if (!g_file_get_contents(from, &text, NULL, NULL))
        g_error("[%s]: %s is not there", c->name, from);
    char *at = strstr(text, c->find);
    if (!at || strstr(at + 1, c->find)) {
        g_test_message("\"%s\" is %s in %s: name the check anew in tests/bad/cases.ini", c->find,
                       at ? "more than once" : "not", c->mutate);
        return false;
    }
    g_autofree char *mutant =
        g_strdup_printf("%.*s%s%s", (int)(at - text), text, c->put, at + strlen(c->find));
    g_assert_true(g_file_set_contents(path, mutant, -1, NULL));
    return true;
}

/* Compiles the mutant as its original is compiled, and links the program with it in front: what it
 * defines is then not taken from the libraries. Returns the program's path, owned; NULL when there
 * is no such check. */
static char *build_mutant(const bad_case *c)
{
    g_autofree char *source = under("mutant.c", NULL), *object = under("mutant.o", NULL);
    g_auto(GStrv) parts = g_strsplit(c->mutate, "/", 2);
    bool cli = !strcmp(parts[0], "cli");
    g_autofree char *target =
        cli ? g_strdup_printf("cli/CMakeFiles/quadslide.dir/%s.o", parts[1])
            : g_strdup_printf("%s/CMakeFiles/qs_%s.dir/%s.o", parts[0], parts[0], parts[1]);
    g_autofree char *original = source_path(c->mutate);
    g_autofree char *program = under("quadslide-mutant", NULL);
    if (!write_mutant(c, source))
        return NULL;
    g_autofree char *compile_line = build_command(target), *link_line = build_command("quadslide");
    g_autoptr(GString) compile = g_string_new(compile_line);
    g_autofree char *quiet = g_strconcat("-w ", "-c ", source, NULL),
                    *as_was = g_strconcat("-c ", original, NULL);
    g_autofree char *to = g_strconcat("-o ", object, NULL),
                    *to_was = g_strconcat("-o ", target, NULL);
    g_string_replace(compile, as_was, quiet, 0);
    g_string_replace(compile, to_was, to, 0);
    g_string_replace(compile, "-Werror", "", 0);
    g_string_replace(compile, "ccache ", "", 1);
    shell(compile->str);
    g_autoptr(GString) link = g_string_new(link_line);
    g_autofree char *link_to = g_strdup_printf("-o %s %s", program, cli ? "" : object);
    g_string_replace(link, "-o quadslide", link_to, 1);
    if (cli)
        g_string_replace(link, target, object, 1);
    shell(link->str);
    return g_steal_pointer(&program);
}

static void test_mutant(gconstpointer data)
{
    const bad_case *c = data;
    g_autofree char *program = build_mutant(c);
    g_autofree char *fault = program ? try_case(c, program, false) : NULL;
    if (!program) {
        g_test_fail();
    } else if (!fault) {
        g_test_message("the check \"%s\" is out of %s, and the case passes", c->find, c->mutate);
        g_test_fail();
    } else {
        g_test_message("fails, as it should: %s", fault);
    }
}

/* ---- the page
 * ------------------------------------------------------------------------------------- */
static char *make_table(void)
{
    GString *text = g_string_new(
        "| class | what it is | recipe | given to (exit status) | what is said | the check |\n"
        "|---|---|---|---|---|---|\n");
    for (guint i = 0; i < here.cases->len; i++) {
        const bad_case *c = here.cases->pdata[i];
        g_autofree char *joined = g_strjoinv(", ", c->runs);
        g_auto(GStrv) plain = g_strsplit(joined, "~", -1);
        g_autofree char *runs = g_strjoinv("", plain);
        g_auto(GStrv) says = g_strsplit(c->says, " … ", -1);
        g_autofree char *said = g_strjoinv(" … ", says);
        g_autofree char *recipe = g_utf8_strlen(c->recipe, -1) > 70
                                      ? g_strdup_printf("%.70s…", c->recipe)
                                      : g_strdup(c->recipe);
        g_autofree char *line = g_strdup_printf("| %s | %s | `%s` | %s | %s | `%s` |\n", c->name,
                                                c->what, recipe, runs, said, c->mutate);
        for (char *p = line; *p; p++) /* a bar inside a cell would end it */
            if (*p == '|' && p != line && p[1] != ' ' && p[1] != '\n' && p[-1] != ' ')
                *p = '/';
        g_string_append(text, line);
    }
    return g_string_free(text, FALSE);
}

/* docs/bad-input.md holds the table as it would be printed. */
static void test_page(void)
{
    g_autofree char *path = source_path("docs/bad-input.md"), *page = NULL, *table = make_table();
    g_assert_true(g_file_get_contents(path, &page, NULL, NULL));
    if (!strstr(page, table)) {
        g_test_message("%s does not hold the table of cases.ini: put in what test_bad --doc prints",
                       path);
        g_test_fail();
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    const char *mode = argc > 1 ? argv[1] : "";
    const char *only = g_getenv("QS_BAD_ONLY");
    here.source = g_getenv("QS_SOURCE_DIR");
    here.build = g_getenv("QS_BINARY_DIR");
    if (!here.source || !here.build)
        g_error("QS_SOURCE_DIR and QS_BINARY_DIR say where source and build are");
    here.program = g_build_filename(here.build, "quadslide", NULL);
    read_cases();
    if (!strcmp(mode, "--doc")) {
        g_autofree char *table = make_table();
        fputs(table, stdout);
        return 0;
    }
    prepare();
    bool mutants = !strcmp(mode, "--mutants");
    for (guint i = 0; i < here.cases->len; i++) {
        const bad_case *c = here.cases->pdata[i];
        g_autofree char *path =
            g_strconcat(mutants ? "/bad/without-its-check/" : "/bad/", c->name, NULL);
        if (!only || !strcmp(only, c->name))
            g_test_add_data_func(path, c, mutants ? test_mutant : test_case);
    }
    if (!mutants && !only)
        g_test_add_func("/bad/page", test_page);
    int status = 0;
    if (!strcmp(mode, "--show"))
        show_all();
    else
        status = g_test_run();
    clean();
    return status;
}
