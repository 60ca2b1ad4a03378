// The one exception type of the engine. It names the op, the argument, what was expected and what came;
// the bindings turn it into ValueError/TypeError/MemoryError/OSError, the C ABI into a status code.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace lamella {

enum class ErrorKind { kValue, kType, kMemory, kOs, kUnsupported, kInternal };

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string op, std::string argument, std::string expected, std::string got)
      : kind_(kind),
        message_(std::move(op) + ": " + (argument.empty() ? "" : argument + ": ") + "expected " + std::move(expected) +
                 ", got " + std::move(got)) {}
  // For failures that are no mismatch (a full disk, a truncated file, an internal limit).
  Error(ErrorKind kind, const std::string& op, const std::string& what) : kind_(kind), message_(op + ": " + what) {}

  ErrorKind kind() const noexcept { return kind_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorKind kind_;
  std::string message_;
};

[[noreturn]] inline void fail_value(std::string op, std::string argument, std::string expected, std::string got) {
  throw Error(ErrorKind::kValue, std::move(op), std::move(argument), std::move(expected), std::move(got));
}
[[noreturn]] inline void fail_type(std::string op, std::string argument, std::string expected, std::string got) {
  throw Error(ErrorKind::kType, std::move(op), std::move(argument), std::move(expected), std::move(got));
}

}  // namespace lamella
