/* Conditions on quality numbers: what they mean, and what is no condition. */
#include "db/where.h"
#include "base/error.h"

#include <math.h>
#include <string.h>

static const db_patch patch = {
    .tissue = 0.75f, .white = 0.1f, .dark = 0, .saturation = 0.3f, .blur = 120, .pen = NAN};

static bool holds(const char *text)
{
    GError *error = NULL;
    db_where *where = db_where_create(text, &error);
    g_assert_no_error(error);
    bool answer = db_where_holds(where, &patch);
    db_where_destroy(where);
    return answer;
}

static void test_meaning(void)
{
    static const struct {
        const char *text;
        bool want;
    } cases[] = {
        {"blur>=120", true},
        {"blur > 120", false},
        {"BLUR <= 1.2e2", true},
        {"blur<120", false},
        {"white=0.1", true}, /* 0.1 is not a float */
        {"white==0.1", true},
        {"white!=0.1", false},
        {"dark=0", true},
        {"tissue>0.5 and white<0.2", true},
        {"tissue>0.5, white<0.05", false},
        {"tissue<0.5 or white<0.2", true},
        {"not tissue<0.5", true},
        {"not not tissue<0.5", false},
        /* and binds closer than or */
        {"blur>1 or blur<0 and white>0.5", true},
        {"(blur>1 or blur<0) and white>0.5", false},
        {"not (white>0.8 or dark>0.5) AND saturation >= .25", true},
        /* what is not known fulfils nothing, so neither it nor its opposite */
        {"pen<0.5", false},
        {"pen>=0.5", false},
        {"pen!=0.5", false},
        {"not pen<0.5", true},
        {"blur > -5", true},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        if (holds(cases[i].text) != cases[i].want)
            g_error("%s", cases[i].text);
    g_assert_true(db_where_holds(NULL, &patch));
}

static void test_faults(void)
{
    static const char *const cases[][2] = {
        {"", "at its end"},       {"blur", ">="},
        {"blur>=", "a number"},   {"blur>=x", "at \"x\""},
        {"sharp>1", "sharp>1"},   {"blur>1 pen<1", "\"and\" or \"or\""},
        {"blur>1 and", "name"},   {"(blur>1", "\")\""},
        {"blur>1)", "at \")\""},  {"blurred>1", "blurred"},
        {"blur>nan", "a number"}, {"and blur>1", "name"},
        {"1<blur", "name"},       {"; DROP TABLE patches", "name"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        g_assert_null(db_where_create(cases[i][0], &error));
        g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
        if (!strstr(error->message, cases[i][1]))
            g_error("\"%s\" is not in: %s", cases[i][1], error->message);
        g_error_free(error);
    }
}

/* As deep as is read, the stack holds; deeper is refused. */
static void test_depth(void)
{
    for (int depth = 1; depth < 70; depth++) {
        GString *text = g_string_new(NULL);
        for (int i = 0; i < depth; i++)
            g_string_append(text, "blur<0 or dark=1 and (");
        g_string_append(text, "blur>0");
        for (int i = 0; i < depth; i++)
            g_string_append_c(text, ')');
        GError *error = NULL;
        db_where *where = db_where_create(text->str, &error);
        if (where)
            g_assert_false(db_where_holds(where, &patch));
        else
            g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
        g_assert_true((where != NULL) == (depth < 64));
        g_clear_error(&error);
        db_where_destroy(where);
        g_string_free(text, TRUE);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/where/meaning", test_meaning);
    g_test_add_func("/where/faults", test_faults);
    g_test_add_func("/where/depth", test_depth);
    return g_test_run();
}
