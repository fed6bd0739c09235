/* Stands in for cuBLAS, whose version cuDNN asks for when it loads and which some engines of 1×1
 * convolutions would use: those say that it cannot be initialised. Built as libcublasLt.so.13 for
 * test_cudnn alone. Arguments are not looked at. */
#include <stddef.h>

enum { NOT_INITIALISED = 1 };

size_t cublasLtGetVersion(void);

size_t cublasLtGetVersion(void)
{
    return 130000;
}

#define NONE(name)                                                                                 \
    int name(void);                                                                                \
    int name(void)                                                                                 \
    {                                                                                              \
        return NOT_INITIALISED;                                                                    \
    }

NONE(cublasLtCreate)
NONE(cublasLtDestroy)
NONE(cublasLtGetProperty)
NONE(cublasLtGroupedMatrixLayoutCreate)
NONE(cublasLtMatmul)
NONE(cublasLtMatmulAlgoGetHeuristic)
NONE(cublasLtMatmulDescCreate)
NONE(cublasLtMatmulDescDestroy)
NONE(cublasLtMatmulDescGetAttribute)
NONE(cublasLtMatmulDescInit_internal)
NONE(cublasLtMatmulDescSetAttribute)
NONE(cublasLtMatmulPreferenceCreate)
NONE(cublasLtMatmulPreferenceDestroy)
NONE(cublasLtMatmulPreferenceInit_internal)
NONE(cublasLtMatmulPreferenceSetAttribute)
NONE(cublasLtMatrixLayoutCreate)
NONE(cublasLtMatrixLayoutDestroy)
NONE(cublasLtMatrixLayoutGetAttribute)
NONE(cublasLtMatrixLayoutInit_internal)
NONE(cublasLtMatrixLayoutSetAttribute)
NONE(cublasLtMatrixTransform)
NONE(cublasLtMatrixTransformDescCreate)
NONE(cublasLtMatrixTransformDescDestroy)
NONE(cublasLtMatrixTransformDescGetAttribute)
NONE(cublasLtMatrixTransformDescInit_internal)
NONE(cublasLtMatrixTransformDescSetAttribute)
