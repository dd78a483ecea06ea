/* A program that opens the library at run time: its argument is the path. */
#include <dlfcn.h>

#define LOAD_AT_RUN_TIME
#include "use_library.h"

int main(int argc, char **argv)
{
    void *library = dlopen(argc == 2 ? argv[1] : "", RTLD_NOW | RTLD_LOCAL);

    if (library == NULL) {
        printf("%s\n", dlerror());
        return 1;
    }
#define LOAD(name)                                                                                 \
    *(void **)(&loaded_##name) = dlsym(library, #name);                                            \
    EXPECT(loaded_##name != NULL);
    USED_FUNCTIONS(LOAD)
    return use_library();
}
