// moxie: one binary, one verb a job. Parses the command line, prints faults, sets the exit code.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <new>

#include "base/error.h"
#include "base/machine.h"
#include "cli/cli.h"

namespace {

// Reading a mapped file that someone cut short raises SIGBUS: say so and leave; there is nothing to go back to.
void on_bus_error(int) {
  constexpr char message[] = "error: a mapped file was cut short or its disk failed while it was read\n";
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, message, sizeof(message) - 1);
  ::_exit(static_cast<int>(moxie::ErrorCode::invalid));
}

void print_error(const char* text) {
  fmt::print(stderr, "error: {}\n", text);
}

// What CLI11 says of flags that it cannot take.
std::string usage_message(const CLI::App* app, const CLI::Error& error) {
  const auto verbs = app->get_subcommands();
  return fmt::format("error: {}\nmoxie {}--help tells what it takes\n", error.what(),
                     verbs.empty() ? "" : verbs.front()->get_name() + " ");
}

}  // namespace

int main(int argc, char** argv) {
  struct sigaction action {};
  action.sa_handler = on_bus_error;
  ::sigaction(SIGBUS, &action, nullptr);

  CLI::App app("moxie runs, shows and measures Mixture-of-Experts language models.", "moxie");
  app.require_subcommand(0, 1);  // none is told below: CLI11 would not name an unknown verb
  app.set_version_flag("--version", std::string(moxie::moxie_version()));
  app.failure_message(usage_message);
  moxie::cli::add_run(app);
  moxie::cli::add_inspect(app);
  moxie::cli::add_route(app);
  moxie::cli::add_eval(app);
  moxie::cli::add_report(app);
  moxie::cli::add_bench(app);
  moxie::cli::add_train(app);
  moxie::cli::add_tokenize(app);
  moxie::cli::add_upcycle(app);
  moxie::cli::add_compare(app);
  moxie::cli::add_convert(app);
  moxie::cli::add_random(app);
  moxie::cli::add_doctor(app);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) {
      fmt::print(stderr, "{}", app.help());
      return static_cast<int>(moxie::ErrorCode::usage);
    }
  } catch (const CLI::ExtrasError& error) {
    if (app.get_subcommands().empty() && argv[1][0] != '-') {
      fmt::print(stderr, "error: {}: no such verb; moxie --help lists them\n", argv[1]);
    } else {
      app.exit(error);
    }
    return static_cast<int>(moxie::ErrorCode::usage);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(moxie::ErrorCode::usage);
  } catch (const moxie::cli::Interrupted& interrupted) {
    return interrupted.exit_code;
  } catch (const moxie::Error& error) {
    print_error(error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return static_cast<int>(moxie::ErrorCode::does_not_fit);
  } catch (const std::exception& error) {
    print_error(error.what());
    return static_cast<int>(moxie::ErrorCode::runtime);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    print_error("stdout cannot be written");
    return static_cast<int>(moxie::ErrorCode::runtime);
  }
  return 0;
}
