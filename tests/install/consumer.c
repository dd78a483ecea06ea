/* A program that links the library. */
#include "use_library.h"

int main(void)
{
    return use_library();
}
