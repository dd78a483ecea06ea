/* A folder of a test's own under the temporary folder, removed with what is in it. */
#pragma once

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

class temporary_folder
{
  public:
    temporary_folder()
    {
        path_ = (std::filesystem::temp_directory_path() / "tinylm-cpp-XXXXXX").string();
        if (mkdtemp(path_.data()) == nullptr)
            throw std::system_error(errno, std::generic_category(), path_);
    }

    temporary_folder(const temporary_folder &) = delete;
    temporary_folder &operator=(const temporary_folder &) = delete;

    ~temporary_folder()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    const std::string &path() const
    {
        return path_;
    }

  private:
    std::string path_;
};
