"""Tables of what `make bench` measured, for the page of measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def bench_table(name: str, document: Mapping[str, Any], *, folder: str) -> str:
    """What one benchmark measured, its file in ``folder`` named first."""
    machine = f"{document['machine']['cores']} cores of {document['machine']['processor']}"
    title = f"[{name}]({folder}/{name}), {document['date'][:10]}, {machine}:"
    if "seconds_by_stage" in document:
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in document["seconds_by_stage"].items())
        seconds = f"{document['seconds_median']:.0f} s ({stages})"
        return f"{title} enrolling one photo with the default settings takes {seconds}."
    if "gradients" in document:
        return f"{title}\n\n{_gradients(document)}"
    if "enrollments" in document:
        return f"{title}\n\n{_triton(document)}"
    if "worst_case" in document:
        return f"{title}\n\n{_worst_case(document)}"
    if "acknowledged" in document:
        return f"{title} {_store_kills(document)}"
    if "users_compared_at_the_end" in document:
        return f"{title} {_hostile_calls(document)}"
    if "conditions" in document:
        return f"{title}\n\n{_oracle(document)}"
    if "lookups" in document:
        return f"{title}\n\n{_tombstones(document)}"
    if "overload" in document:
        return f"{title}\n\n{_overload(document)}"
    if "not_read" in document:
        return f"{title}\n\n{_message_load(document)}"
    if "what_failed" in document:
        return f"{title}\n\n{_soak(document)}"
    if "states" in document:
        return f"{title}\n\n{_stalls(document)}"
    if "calls" in document:
        return f"{title}\n\n{_serving(document)}"
    if "photos" in document and "worst_ratio" in document:
        return f"{title} {document['what']}.\n\n{_splice(document)}"
    if "sets" in document:
        return f"{title} {document['what']}.\n\n{_finder(document)}"
    sizes = document["sizes"]
    candidates = list(sizes[0]["timings"])
    lines = [
        " | ".join([f"median ms a photo{_clock(document)}", *map(_size, sizes)]),
        " | ".join(["---"] * (len(sizes) + 1)),
        *(" | ".join([what, *(f"{size['timings'][what]['median_ms']:.1f}" for size in sizes)]) for what in candidates),
    ]
    if "ratio_box" in sizes[0]:
        ratios = (f"{size['ratio_box']:.2f} ({size['limit_ratio_box']:.2f})" for size in sizes)
        lines.append(" | ".join(["ratio, box given to the full way (aim)", *ratios]))
    return f"{title}\n\n" + "\n".join(f"| {line} |" for line in lines)


def _worst_case(document: Mapping[str, Any]) -> str:
    """By what they cost."""
    rows = [
        ["file made to attack", "bytes", "MP by its header", "processor s", "peak MiB", "answer"],
        ["---"] * 6,
        *(
            [
                row["file"], f"{row['bytes']:,}", f"{row['megapixels']:g}", f"{row['cpu_seconds']:.2f}",
                str(row["peak_mebibytes"]), row["outcome"],
            ]
            for row in sorted(document["worst_case"], key=lambda row: -row["cpu_seconds"])
        ),
    ]  # fmt: skip
    return (
        "Cloaking one photo, the place of a face given, decoders in their own processes and counted with the "
        "service's; peak is what it adds to both.\n\n" + _table(rows)
    )


def _store_kills(document: Mapping[str, Any]) -> str:
    return (
        f"{document['writes']} masks written to an S3 server that was killed {document['kills']} times meanwhile: "
        f"{document['acknowledged']} were acknowledged, {document['failed']} failed, and {document['lost']} of those "
        "acknowledged were lost."
    )


def _hostile_calls(document: Mapping[str, Any]) -> str:
    refusals = [count for reason, count in document["ended"].items() if reason != "OK"]
    return (
        f"{document['calls']:,} random hostile calls of two tenants with the same users, {document['threads']} at "
        f"once, met {sum(refusals):,} refusals, each for one of {len(refusals)} reasons that the services have; "
        f"{document['wrong']} answers told anything of another tenant's masks, of which both had {document['masks']:,}."
    )


def _tombstones(document: Mapping[str, Any]) -> str:
    """What it costs to look for a deletion's trace."""
    rows = [["lookup", "ms", "ms without tombstones", "added ms"], ["---"] * 4]
    for store, lookups in document["lookups"].items():
        for what, one in lookups.items():
            rows.append([f"{what}: {store}", *(f"{one[name]:.2f}" for name in ("ms", "ms_without", "added_ms"))])
    return _table(rows)


def _oracle(document: Mapping[str, Any]) -> str:
    """What a caller learns of masks from ApplyCloak, and what refuses to tell."""
    judges = document["judges"]
    rows = [["the attacker has", "the published photo", *judges], ["---"] * (2 + len(judges))]
    for condition, found in document["conditions"].items():
        if "refused" in found:
            rows.append([condition, f"not restored: {', '.join(found['refused'])}", *("-" for _ in judges)])
            continue
        for state, means in found.items():
            shown = ["-" if means[judge] is None else f"{means[judge]:.2f}" for judge in judges]
            rows.append([condition, state, *shown])
    victims = document["victims"]["count"]
    return (
        f"Similarity to the person, the mean of {victims} people, by recognizers that the masks were not learned from "
        f"(the bank: {document['bank']['masks']} masks, {document['bank']['calls']} calls):\n\n{_table(rows)}"
    )


def _overload(document: Mapping[str, Any]) -> str:
    rows = [["calls", "answer", "calls", "median ms", "99th percentile ms", "say when to come back"], ["---"] * 6]
    load, alone, probes = document["overload"], document["at_capacity"], document["probes"]
    for who, outcomes in (
        ("all", load["outcomes"]),
        ("begun after the first second", load["outcomes_after_the_first_second"]),
        ("of a caller that has little to do", document["watcher"]),
    ):
        rows += [
            [who, name, *(str(row.get(key, "")) for key in ("calls", "p50_ms", "p99_ms", "with_retry_info"))]
            for name, row in outcomes.items()
        ]
    return (
        f"{load['rate_per_second']} calls a second, {document['times']} times what one process of the service was seen "
        f"to answer ({document['capacity_per_second']}, with {alone['service_cores']} cores); the caller shares the "
        f"machine, and takes {load['caller_cores']} cores of it, the service {load['service_cores']}. "
        f"{load['goodput_per_second']} photos a second were cloaked, the line's end included. Of "
        f"{probes['probes']} probes {probes['refused']} were refused, median {probes['p50_ms']} ms, 99th percentile "
        f"{probes['p99_ms']} ms.\n\n{_table(rows)}"
    )


def _message_load(document: Mapping[str, Any]) -> str:
    rows = [["callers", "peak MiB", "MiB 5 s later", "answers"], ["---"] * 4]
    for name, what in (("read", "read their answers"), ("not_read", "leave them for 8 s")):
        one = document[name]
        outcomes = ", ".join(f"{code} {count}" for code, count in one["outcomes"].items())
        rows.append([what, str(one["peak_mebibytes"]), str(one["resting_mebibytes"]), outcomes])
    return (
        f"{document['calls']} calls at once of {document['photo_mebibytes']} MiB each; "
        f"{document['resident_mebibytes_before']} MiB before.\n\n{_table(rows)}"
    )


def _stalls(document: Mapping[str, Any]) -> str:
    rows = [["the store", "answers", "median ms", "99th percentile ms"], ["---"] * 4]
    for state, row in document["states"].items():
        outcomes = ", ".join(f"{name} {count}" for name, count in row["outcomes"].items())
        rows.append([state, outcomes, str(row["p50_ms"]), str(row["p99_ms"])])
    return (
        f"{document['calls_per_second']:g} calls a second for {document['users']} users whose masks the service has "
        f"remembered for longer than they are fresh, 1280x960, landmarks given:\n\n{_table(rows)}"
    )


def _soak(document: Mapping[str, Any]) -> str:
    times = document["accepted_seconds"]
    refused = ", ".join(f"{name} {count}" for name, count in document["attempts_refused"].items())
    memory = [mebibytes for _, mebibytes in document["memory_mebibytes"]]
    outcomes = ", ".join(f"{name} {count}" for name, count in document["outcomes"].items())
    kept = _written(document["writes"])
    happened = ", ".join(f"{event['what']} ({event['second']:.0f} s)" for event in document["what_failed"])
    return (
        f"{document['minutes']:g} minutes at {document['rate_per_second']} photos a second, 0.8 of what the service "
        f"answered before ({document['capacity_per_second']}), while: {happened}; its log's disk was full throughout. "
        f"{document['calls']} photos: {outcomes}. Wrong {document['wrong']}, lost {document['lost']}, uncloaked with "
        f"OK {document['uncloaked_with_ok']}. Cloaked ones took {times['p50']} s in the median, {times['p99']} s at "
        f"the 99th percentile, repetitions included. Attempts refused and repeated: {refused or 'none'}. Memory of "
        f"all processes {min(memory)} to {max(memory)} MiB. {kept}"
    )


def _written(writes: Mapping[str, Any]) -> str:
    return (
        f"A mask that was written each second: {writes['acknowledged']} writes acknowledged, "
        f"{sum(writes['refused'].values())} refused with the store's fault, {writes['lost']} lost."
    )


def _finder(document: Mapping[str, Any]) -> str:
    header = ["photos", "number", "faces", "found: cascade", "BlazeFace alone", "elsewhere: cascade", "BlazeFace alone"]
    header += ["landmarks away, px of the crop, median / 95 %: cascade", "BlazeFace alone", "ms: cascade"]
    rows = [[*header, "BlazeFace alone", "a glance", "settled by a glance"]]
    rows.append(["---"] * len(rows[0]))
    for name, one in document["sets"].items():
        ways = [one["cascade"], one["blazeface alone"]]
        away = [way.get("landmarks_away_px") for way in ways]
        rows.append(
            [
                name,
                *(str(one[what]) for what in ("photos", "faces")),
                *(str(way["found"]) for way in ways),
                *(str(way["other"]) for way in ways),
                *(f"{px['p50']:.2f} / {px['p95']:.2f}" if px else "-" for px in away),
                *(f"{way['median_ms']:.0f}" for way in (*ways, one["glance"])),
                str(one["glance"]["settled"]),
            ]
        )
    return _table(rows)


def _splice(document: Mapping[str, Any]) -> str:
    header = ["photo", "px", "quality", "splice, ms", "decode, add, encode, ms", "ratio"]
    rows = [[*header, "square mask: splice, ms", "ratio"], ["---"] * 8]
    for photo in document["photos"]:
        ms = {way: f"{timing['median_ms']:.1f}" for way, timing in photo["timings"].items()}
        rows.append(
            [
                photo["photo"],
                _size(photo),
                str(photo["quality"] or "its own"),
                *(ms[way] for way in ("splice", "full")),
                f"{photo['ratio']:.2f}",
                ms["splice, square mask"],
                f"{photo['ratio_square']:.2f}",
            ]
        )
    return _table(rows)


def _serving(document: Mapping[str, Any]) -> str:
    calls = document["calls"]
    rows = [
        ["ApplyCloak, gRPC included: processor ms a photo at the server", *(_size(size) for size in calls)],
        ["---"] * (1 + len(calls)),
    ]
    for hint in calls[0]["served"]:
        rows.append([f"hint: {hint}", *(f"{size['served'][hint]['cpu_ms']:.1f}" for size in calls)])
    for name in calls[0]["full_way_ms"]:
        label = f"decode, find, lay, encode without gRPC: {name}"
        rows.append([label, *(f"{size['full_way_ms'][name]:.1f}" for size in calls)])
    for hint in calls[0]["ratio_to_full"]:
        label = f"ratio, hint: {hint} (to laying alone, the place known)"
        both = ((size["ratio_to_full"][hint], size["ratio_to_full_without_finding"][hint]) for size in calls)
        rows.append([label, *(f"{one:.2f} ({other:.2f})" for one, other in both)])
    label = "gRPC echo of the same bytes, both sides, ms"
    rows.append([label, *(f"{size['echo']['cpu_ms_both_sides']:.1f}" for size in calls)])
    cache, memory, processes = document["cache"], document["memory"], document["processes"]
    lookups = ", ".join(
        f"{name.replace('_', ' ')} {timing['p50_us']:.0f} / {timing['p99_us']:.0f}" for name, timing in cache.items()
    )
    sentences = (
        f"A mask's lookup in microseconds, median / 99th percentile: {lookups}. Two processes answer "
        f"{processes['gain']} times the photos of one ({_rounds(processes)}). Resident memory over "
        f"{memory['calls']} calls: {memory['resident_mebibytes'][2]} MiB after a tenth, "
        f"{memory['resident_mebibytes'][-1]} at the end."
    )
    return f"{_table(rows)}\n\n{sentences}"


def _rounds(processes: Mapping[str, Any]) -> str:
    """What the machine gave the processes meanwhile."""
    rounds = ", ".join(
        f"{one['processes']}: {one['photos_per_second']:.0f} a second on {one['cores_got']} cores, "
        f"{one['cpu_ms_per_photo']:.1f} ms a photo"
        for one in processes["rounds"]
    )
    return f"what they and their clients on the same cores got: {rounds}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _gradients(document: Mapping[str, Any]) -> str:
    rows = document["gradients"]
    batches = sorted({row["batch"] for row in rows})
    ratios = {(row["recognizer"], row["batch"]): row["ratio"] for row in rows}
    names = list(dict.fromkeys(row["recognizer"] for row in rows))
    lines = [
        " | ".join([f"compiled gradient over torch eager, {document['clock']}", *(f"N = {n}" for n in batches)]),
        " | ".join(["---"] * (len(batches) + 1)),
        *(" | ".join([name, *(f"{ratios[name, n]:.2f}" for n in batches)]) for name in names),
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _triton(document: Mapping[str, Any]) -> str:
    lines = ["a gradient call of 8 crops, over in process | by shared memory | by gRPC", "--- | --- | ---"]
    lines += [
        f"{row['recognizer']} | {row['ratio_shared_memory']:.2f} | {row['ratio_grpc']:.2f}" for row in document["calls"]
    ]
    runs = ", ".join(
        f"{run['at_once']}: {run['over_one_after_the_other']:.2f}" for run in document["enrollments"]["runs"]
    )
    table = "\n".join(f"| {line} |" for line in lines)
    sentences = (
        f"Enrollments at once on one Triton, total time over that of one after the other: {runs} (load average before "
        f"{document['load_average_before']}; single ratios are off by a tenth or two)."
    )
    return f"{table}\n\n{sentences}"


def _clock(document: Mapping[str, Any]) -> str:
    return f" ({document['clock']})" if "clock" in document else ""


def _size(size: Mapping[str, Any]) -> str:
    if "square_side_px" in size:
        return f"face of {size['square_side_px']} px"
    return f"{size['width']}x{size['height']}"
