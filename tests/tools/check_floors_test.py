"""Tests of tools/check_floors.py: each rule finds its planted violation, and says nothing of a clean tree."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
sys.dont_write_bytecode = True
import check_floors  # noqa: E402

OPENING = "// A file of the test, nothing else.\n"
HEADER = OPENING + "#pragma once\n"


class CheckFloors(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in ("base/error.h", "format/format.h", "kernels/kernels.h", "tensor/tensor.h", "store/store.h"):
            self.write(f"src/{name}", HEADER)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def problems_of(self, name, text):
        self.write(name, text)
        return check_floors.check(self.root)[0]

    def assert_one_problem(self, name, text, line, words):
        problems = self.problems_of(name, text)
        self.assertEqual(len(problems), 1, problems)
        self.assertTrue(problems[0].startswith(f"{name}:{line}: "), problems[0])
        self.assertIn(words, problems[0])

    def test_a_clean_tree_has_no_problems(self):
        text = OPENING + '#include "store/a.h"\n#include <vector>\n#include <sys/stat.h>\n#include "tensor/tensor.h"\n'
        self.write("src/store/a.h", HEADER)
        self.assertEqual(self.problems_of("src/store/a.cpp", text), [])

    def test_an_include_that_points_up_is_found(self):
        self.assert_one_problem("src/base/a.cpp", OPENING + '\n#include "format/format.h"\n', 3, "points only down")

    def test_rooms_side_by_side_do_not_know_each_other(self):
        self.assert_one_problem("src/kernels/a.cpp", OPENING + '#include "tensor/tensor.h"\n', 2, "side by side")

    def test_an_include_hidden_by_spaces_is_found(self):
        self.assert_one_problem("src/ops/a.cpp", OPENING + '  #  include  "store/store.h"\n', 2, "side by side")

    def test_a_vendor_header_outside_its_files_is_found(self):
        for header in ("simdjson.h", "CLI/CLI.hpp", "pcre2.h", "utf8proc.h", "immintrin.h"):
            with self.subTest(header):
                self.assert_one_problem("src/moe/a.cpp", OPENING + f"#include <{header}>\n", 2, "vendor header")

    def test_a_vendor_header_in_its_file_is_fine(self):
        self.assertEqual(self.problems_of("src/base/json.cpp", OPENING + "#include <simdjson.h>\n"), [])

    def test_an_unknown_library_is_found(self):
        self.assert_one_problem("src/moe/a.cpp", OPENING + "#include <boost/asio.hpp>\n", 2, "vendor table")

    def test_own_headers_are_written_from_src_with_quotes_and_exist(self):
        for include, words in (("<base/error.h>", "quotes"), ('"error.h"', "room/file.h"),
                               ('"../base/error.h"', "room/file.h"), ('"base/gone.h"', "there is no")):
            with self.subTest(include):
                self.assert_one_problem("src/base/a.cpp", OPENING + f"#include {include}\n", 2, words)

    def test_an_unknown_room_is_found(self):
        self.assert_one_problem("src/attic/a.cpp", OPENING, 1, "no room of the house")

    def test_a_file_without_an_opening_sentence_is_found(self):
        self.assert_one_problem("tests/base/a.cpp", "#include <vector>\n", 1, "opens with a comment")
        self.assert_one_problem("tests/base/a.cpp", "", 1, "opens with a comment")

    def test_a_source_speaks_through_the_opening_of_its_header(self):
        self.assertEqual(self.problems_of("src/base/error.cpp", '#include "base/error.h"\n'), [])

    def test_a_header_without_a_guard_is_found(self):
        self.assert_one_problem("src/base/a.h", OPENING, 1, "#pragma once")

    def test_a_long_file_warns_and_a_longer_one_fails(self):
        self.assertEqual(self.problems_of("fuzz/a.cpp", OPENING + "//\n" * 449), [])
        self.assertEqual(len(check_floors.check(self.root)[1]), 1)
        self.assert_one_problem("fuzz/a.cpp", OPENING + "//\n" * 500, 501, "501 lines")


if __name__ == "__main__":
    unittest.main()
