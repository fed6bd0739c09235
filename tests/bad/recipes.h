/* Recipes that damage files: what a case of cases.ini names. Each takes a good slide of `synth` (a
 * classic little-endian TIFF of JPEG tiles) or nothing, and makes one bad file. */
#ifndef QS_TESTS_BAD_RECIPES_H
#define QS_TESTS_BAD_RECIPES_H

#include <stdbool.h>

/* The words of the recipe ("truncate 30"), the good slide and its mask, the file to make. False
 * when there is no such recipe. Fails the test (g_error) when the recipe itself cannot be followed.
 */
bool bad_recipe(char *const *words, const char *slide, const char *mask, const char *out);

#endif
