/* A program that uses BLIS itself beside the library: linked with libblis.a in front of libtinylm.a, it gets
 * BLIS whole, and the library's own names must not clash with it. */
#include "use_library.h"

/* Of blis.h, which may lie anywhere. */
void bli_init(void);
void bli_finalize(void);
const char *bli_info_get_version_str(void);

int main(void)
{
    bli_init();
    printf("BLIS %s\n", bli_info_get_version_str());
    int failed = use_library();
    bli_finalize();
    return failed;
}
