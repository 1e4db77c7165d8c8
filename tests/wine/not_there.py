"""Tests of the portable folders that Windows or Wine cannot pass, by what is missing there. Prefixes of test ids."""

_WHY = {
    "file modes: Windows has one read-only bit, rights are lists": (
        "tests/unit/packtool/test_building.py::test_names_are_sorted_times_fixed_and_modes_two",
        "tests/unit/packtool/test_sign.py::test_the_private_key_is_for_its_owner_and_never_overwritten",
        "tests/unit/runtime/test_archives.py::test_a_good_package_is_unpacked_with_modes",
        "tests/unit/runtime/test_archives.py::test_install_makes_the_entrypoint_executable_whatever_packed_it",
        "tests/unit/runtime/test_files.py::test_the_new_content_replaces_the_old_with_its_mode",
        "tests/unit/worker/test_worker_enrol.py::test_identity_and_key_survive_and_are_private",
        "tests/unit/worker/test_worker_placement.py::test_a_config_file_that_is_dropped_leaves_with_the_next_activation",
        "tests/unit/worker/test_worker_placement.py::test_the_entrypoint_becomes_executable_and_nothing_else_does",
    ),
    "symbolic links: Wine makes none": (
        "tests/unit/packtool/test_building.py::test_links_inside_become_what_they_point_to",
        "tests/unit/packtool/test_building.py::test_a_package_may_be_reached_through_a_link",
        "tests/unit/runtime/test_archives.py::test_a_link_in_place_of_the_target_is_not_followed",
        "tests/unit/worker/test_worker_logs.py::test_no_name_leads_out_of_the_instances_folder",
        "tests/unit/worker/test_worker_placement.py::test_links_the_service_left_are_not_written_through",
        "tests/unit/processes/test_filelog.py::test_a_folder_that_becomes_a_link_leads_nowhere",
        "tests/unit/worker/test_worker_logfeed.py::test_what_becomes_no_file_ends_it_with_a_reason",
    ),
    "named pipes in folders, line feeds in names": (
        "tests/unit/packtool/test_building.py::test_every_fault_is_told_at_once",
        "tests/unit/packtool/test_building.py::test_what_is_ignored_stays_out_and_may_be_anything",
        "tests/unit/processes/test_tail.py::test_a_missing_log_is_empty_and_odd_files_are_refused",
        "tests/unit/worker/test_worker_logs.py::test_a_pipe_is_no_log",
        "tests/unit/processes/test_filelog.py::test_what_becomes_no_file_is_told_and_nothing_hangs",
        "tests/unit/processes/test_filelog.py::test_an_old_file_that_is_a_link_or_a_pipe_is_left_out",
        "tests/unit/worker/test_worker_logwatch.py::test_what_becomes_no_file_is_told_and_looked_at_again_later",
    ),
    "an open file cannot be replaced: its readers and its program must be gone first": (
        "tests/unit/processes/test_rotate.py::test_a_million_lines_through_many_rotations",
        "tests/unit/processes/test_tail.py::test_follow_sees_growth_truncation_and_replacement",
        "tests/unit/worker/test_worker_placement.py::test_a_running_binary_keeps_its_own_file",
    ),
    "holes in files: Linux' fallocate": (
        "tests/unit/processes/test_rotate.py::test_a_flood_on_a_full_disk_is_cut_off_and_told",
        "tests/unit/processes/test_rotate.py::test_a_crash_at_any_step_neither_loses_nor_doubles_a_line",
    ),
    "the test itself counts bytes of text, and Windows ends lines by two": (
        "tests/unit/worker/test_worker_logs.py::test_outputs_come_first_and_what_is_not_there_is_empty",
        "tests/unit/worker/test_worker_logs.py::test_lines_and_bytes_of_a_named_log",
        "tests/unit/worker/test_worker_logs.py::test_output_is_rotated_by_size",
        "tests/unit/worker/test_worker_logs.py::test_what_a_flood_dropped_is_said_once_a_minute",
    ),
    "Linux' own: /proc, /dev/kmsg, syncfs, uname, sysconf, signals, root": (
        "tests/unit/processes/test_adopt.py",  # user ids
        "tests/unit/processes/test_oom.py",
        "tests/unit/processes/test_procfs.py::test_counters_and_traffic",
        "tests/unit/runtime/test_durable.py",
        "tests/unit/runtime/test_gone.py",  # probes of TCP
        "tests/unit/runtime/test_tasks.py::test_serve_stops_on_sigterm_and_restores_the_handlers",
        "tests/unit/runtime/test_tasks.py::test_a_real_process_stops_on_sigint_with_code_0",
        "tests/unit/worker/test_worker_deploy.py::test_root_is_told_from_others",
        "tests/unit/worker/test_worker_sampler.py::test_this_machine_measured_twice",
        "tests/unit/worker/test_worker_sampler.py::test_a_mount_that_hangs_leaves_a_gap_and_stops_nothing",
        "tests/unit/runtime/test_archives.py::test_composed_names_never_leave",
    ),
    "a worker on Windows does not update itself, and says so": (
        "tests/unit/worker/test_worker_switch.py::test_the_seat_knows_the_installed_program",
        "tests/unit/worker/test_worker_updates.py::test_a_verified_program_is_handed_over_to",
        "tests/unit/worker/test_worker_updates.py::test_a_worker_that_cannot_hand_over_and_another_platform_s_program_say_so",
    ),
    "the test runs the worker's main twice in one process, and a process can ask the service manager only once": (
        "tests/unit/worker/test_worker_command_line.py::test_what_can_never_join_touches_nothing",
    ),
    "Wine does not tell names, parents and programs of processes to psutil": (
        "tests/unit/worker/test_worker_sampler.py::test_the_process_list_knows_this_process",
        "tests/unit/worker/test_worker_sampler.py::test_the_process_list_tells_ports_and_who_may_be_taken_over",
        "tests/unit/worker/test_worker_sampler.py::test_a_long_process_list_is_cut_to_one_answer",
    ),
}

NOT_THERE = tuple(test for tests in _WHY.values() for test in tests)
