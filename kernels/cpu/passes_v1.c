/* The passes for every machine: 128-bit vectors. Compiled with its own -march (CMakeLists.txt). */
#define KN_PASSES kn_passes_v1
#define KN_PASSES_NAME "baseline"
#define VL 4
#include "kernels/cpu/passes.inc"
