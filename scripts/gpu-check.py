"""What only a machine with a GPU can show, in calls that fit a short lease: no network, no npm, no Python package but torch for its libraries.

    scripts/gpu-check.sh first|second|rest [STEP ...]       only steps of these names or prefixes, if any are given

Every result is one line of JSON, printed at once and appended to REPORT: an interrupted call loses only what follows. A step's own results come
first, as {"step", "result"}, then {"step", "status", "seconds", "details"}: passed, failed, or skipped with the reason. The last line is {"end", ...}.
Exit code 0: nothing failed. The steps are in the order of docs/gpu-ledger.md.

    MINUTES=8               for the whole call (second: 5, rest: 60); what does not fit is skipped
    DEVICE=cuda             cpu: the same steps on a CPU, with a model of toy size, to try the script
    LIBTORCH=folder         a CUDA LibTorch; by default that of this Python's torch
    NODE=/path/to/node      second, rest: needs node_modules/{node-addon-api,node-api-headers} and dist/ (node scripts/packages.mjs)
    DOCTEST_INCLUDE=folder  that holds doctest/doctest.h, where it is not installed
    BUILD=folder            default build-gpu                    REPORT=file   default BUILD/report.jsonl, appended
    DIFFUSERS_PYTHON=python      rest: a Python with torch and diffusers, to compare with       COMMIT=hash   outside of a git clone
"""
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

root = pathlib.Path(__file__).resolve().parent.parent
environment = os.environ.copy()
on_cpu = environment.get('DEVICE', 'cuda') == 'cpu'
device = 'cpu' if on_cpu else 'cuda'
build = pathlib.Path(environment.get('BUILD', 'build-gpu'))
build = build if build.is_absolute() else root / build
logs = build / 'logs'
golden = root / 'test/data/golden'
node = environment.get('NODE', '')


class Stopped(Exception):
    """A signal: the call ends, and says so."""


class Check:
    def __init__(self, minutes, only):
        self.begin = time.monotonic()
        self.ends = self.begin + 60 * minutes
        self.only = only
        self.counts = {'passed': 0, 'failed': 0, 'skipped': 0}
        logs.mkdir(parents=True, exist_ok=True)
        self.report = open(environment.get('REPORT', build / 'report.jsonl'), 'a', encoding='utf-8')

    def emit(self, record):
        line = json.dumps(record, ensure_ascii=False)
        for out in (self.report, sys.stdout):  # what reads stdout may be gone
            out.write(line + '\n')
            out.flush()

    def finish(self, name, status, seconds, details):
        self.counts[status] += 1
        self.emit({'step': name, 'status': status, 'seconds': round(seconds, 1), 'details': details})
        print(f'{status}  {name}  ({seconds:.0f} s)', file=sys.stderr, flush=True)
        return status == 'passed'

    def wanted(self, name):
        return not self.only or any(name.startswith(prefix) for prefix in self.only)

    def skip(self, name, reason):
        return self.wanted(name) and self.finish(name, 'skipped', 0, reason)

    def fail(self, name, reason):
        return self.wanted(name) and self.finish(name, 'failed', 0, reason)

    def step(self, name, seconds, command, **variables):
        """Runs a command for at most `seconds`, and while the call's time lasts. JSON on its stdout is a result. Returns whether it passed."""
        if not self.wanted(name):
            return False
        limit = min(seconds, self.ends - time.monotonic())
        if limit < 2:
            return self.finish(name, 'skipped', 0, 'no time is left')
        print(f'...     {name} (at most {limit:.0f} s): {" ".join(map(str, command))}', file=sys.stderr, flush=True)
        begin, log = time.monotonic(), logs / f'{name}.log'
        with open(log, 'w', encoding='utf-8', errors='replace') as out:
            try:
                child = subprocess.Popen(list(map(str, command)), cwd=root, stdout=subprocess.PIPE, stderr=out, stdin=subprocess.DEVNULL, text=True,
                                         errors='replace', start_new_session=True, env={**environment, **variables})
            except OSError as error:
                return self.finish(name, 'failed', 0, str(error))
            reader = threading.Thread(target=self.read, args=(name, child.stdout, out))
            stopped = None
            try:
                reader.start()  # from its first result on, a signal finds the step under way
                child.wait(limit)
            except subprocess.TimeoutExpired:
                stopped = f'stopped after {limit:.0f} s'
            except Stopped as signalled:
                stopped = f'stopped by {signalled}'
                raise
            finally:
                if child.poll() is None:
                    self.end(child)
                if reader.ident:
                    reader.join(5)
                taken = time.monotonic() - begin
                if stopped and stopped.startswith('stopped by'):
                    self.finish(name, 'skipped', taken, stopped)
        if child.returncode == 0:
            return self.finish(name, 'passed', taken, self.ending(log, 3))
        # Cut off by the end of the call: nothing is known. In its own time: too slow, or it hangs.
        status = 'skipped' if stopped and limit < seconds else 'failed'
        return self.finish(name, status, taken, f'{stopped or f"exit code {child.returncode}"}; {self.ending(log, 12, errors=True)}')

    def read(self, name, stdout, log):
        """Results as they come: one JSON object per line, or one over all lines."""
        other = []
        for line in stdout:
            log.write(line)
            log.flush()
            if not self.result(name, line):
                other.append(line)
        self.result(name, ''.join(other))

    def result(self, name, text):
        try:
            value = json.loads(text)
        except ValueError:
            return False
        if isinstance(value, dict):
            self.emit({'step': name, 'result': value})
        return isinstance(value, dict)

    @staticmethod
    def end(child):
        for sent, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(child.pid, sent)
                child.wait(patience)
                return
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    @staticmethod
    def ending(log, count, errors=False):
        """What a log says at its end, and before it what went wrong, for who reads the JSON alone."""
        lines = [line[:300] for line in log.read_text('utf-8', 'replace').splitlines() if line.strip() and not line.startswith('{')]
        wrong = [line for line in lines if re.search(r'ERROR|[Ee]rror:|FAILED|values:', line)][:12] if errors else []
        notices = [line for line in lines if re.search(r' (is|are) off: | MESSAGE: ', line)][:20]
        return '\n'.join([*notices, *wrong, *lines[-count:]])


def find_libtorch():
    if 'LIBTORCH' in environment:
        return pathlib.Path(environment['LIBTORCH'])
    torch = importlib.util.find_spec('torch')
    return pathlib.Path(torch.submodule_search_locations[0]) if torch else None


def compile_core(check, addon):
    """Configures and compiles. Returns whether all of it was built; what was is there all the same."""
    libtorch = find_libtorch()
    if libtorch is None:
        return check.fail('build', 'LIBTORCH is not set and this Python has no torch')
    if not on_cpu and not (libtorch / 'lib/libtorch_cuda.so').exists():
        return check.fail('build', f'{libtorch} is built without CUDA')
    if not on_cpu and not shutil.which('nvcc'):
        environment['PATH'] += ':/usr/local/cuda/bin'
    options = [f'-DLIBTORCH={libtorch}', f'-DDIFFMINE_CUDA={"OFF" if on_cpu else "ON"}', f'-DDIFFMINE_NODE={"ON" if addon else "OFF"}']
    if not on_cpu:
        card = subprocess.run(['nvidia-smi', '--query-gpu=compute_cap', '--format=csv,noheader'], capture_output=True, text=True, check=False)
        capability = sorted(set(card.stdout.replace('.', '').split()))  # one architecture compiles several times faster than all
        options.append(f'-DDIFFMINE_CUDA_ARCHITECTURES={";".join(capability) or "90"}')
    if 'DOCTEST_INCLUDE' in environment:
        options.append(f'-DDOCTEST_INCLUDE={environment["DOCTEST_INCLUDE"]}')
    ninja = shutil.which('ninja') is not None
    if not check.step('configure', 60, ['cmake', *(['-G', 'Ninja'] if ninja else []), '-S', root, '-B', build, *options]):
        return False
    # After an error everything else is built all the same: the benchmark does not need a test that does not compile. Programs of an earlier build
    # are not taken for this one's.
    if check.wanted('build'):
        for program in ('diffmine_bench', 'diffmine_tests', 'diffmine.node'):
            (build / program).unlink(missing_ok=True)
    keep_going = ['-k', '0'] if ninja else ['-k']
    targets = ['--target', 'diffmine_bench', *(['diffmine'] if addon else ['diffmine_tests'])]
    return check.step('build', 240, ['cmake', '--build', build, '-j', os.cpu_count(), *targets, '--', *keep_going])


def first(check):
    if not on_cpu:
        check.step('device', 20, ['nvidia-smi', '--query-gpu=name,compute_cap,memory.total,driver_version', '--format=csv'])
    compile_core(check, addon=False)
    bench, tests = build / 'diffmine_bench', build / 'diffmine_tests'
    small = ['--model', 'tiny', '--dtype', 'fp32,bf16', '--latents', '16', '--batch', '2', '--tune', 'off', '--repeats', '2'] if on_cpu else []
    if bench.exists():
        check.step('bench', 150, [bench, 'unet', '--device', device, '--profile', *small])
        check.step('attention', 40, [bench, 'attention', '--device', device, *small])
    else:
        for name in ('bench', 'attention'):
            check.skip(name, 'diffmine_bench was not built')
    if not tests.exists():
        for name in ('tests', 'golden', 'memcheck'):
            check.skip(name, 'diffmine_tests was not built; where doctest is not installed, set DOCTEST_INCLUDE')
        return
    required = {} if on_cpu else {'DIFFMINE_REQUIRE_GPU': '1'}  # cases for every device then fail where they find no GPU
    check.step('tests', 90, [tests, '--test-case=kernel *,attention *,passes *'], **required)
    check.step('golden', 40, [tests, '--test-case=typicality *'], **required)  # against the reference's values, in fp32, fp16 and bf16
    sanitize(check, 'memcheck', 60)


def sanitize(check, tool, seconds):
    if on_cpu:
        return check.skip(tool, 'there is no GPU')
    if not shutil.which('compute-sanitizer'):
        return check.skip(tool, 'there is no compute-sanitizer on the PATH')
    # Without the allocator's large blocks: in them, what lies beyond a tensor is still a valid address.
    return check.step(tool, seconds, ['compute-sanitizer', '--tool', tool, '--error-exitcode', '9', build / 'diffmine_tests', '--test-case=kernel *'],
                      PYTORCH_NO_CUDA_MEMORY_CACHING='1', DIFFMINE_REQUIRE_GPU='1')


def cli(*arguments):
    return [node, root / 'bin/diffmine.js', *arguments, '--device', device, '--json']


def with_addon(check):
    """The package, on an addon built here. Returns whether it can be run."""
    if not node:
        return check.fail('addon', 'NODE is not set')
    if not (root / 'node_modules/node-addon-api').exists() or not (root / 'node_modules/node-api-headers').exists():
        return check.fail('addon', 'node_modules has no node-addon-api and node-api-headers')
    if not (root / 'dist').exists():
        return check.fail('addon', 'there is no dist/: node scripts/packages.mjs')
    compile_core(check, addon=True)
    if not (build / 'diffmine.node').exists():
        return check.fail('addon', 'it was not built')
    environment['DIFFMINE_ADDON'] = str(build / 'diffmine.node')
    return True


def second(check):
    if not with_addon(check):
        return
    check.step('doctor', 30, [node, root / 'bin/diffmine.js', 'doctor', '--json'])
    half = 'bf16' if on_cpu else 'fp16'
    made = build / 'runs'
    shutil.rmtree(made, ignore_errors=True)
    for dtype in ('fp32', half):
        check.step(f'verify-{dtype}', 90, cli('verify', golden, '--dtype', dtype))
    # Does reduced precision keep the ranking? On the demo's model, against a scan in fp32.
    images, few = made / 'world', ['2', '8'] if on_cpu else ['40', '100']
    if check.step('rank-images', 30, [node, root / 'bin/diffmine.js', 'demo', '--data-only', images, '--images-per-label', few[0], '--holdout', '0', '--json']):
        scan = cli('scan', images / 'train', '--model', root / 'demo/model', '--samples', few[1], '--no-maps')
        if all([check.step(f'rank-scan-{dtype}', 90, [*scan, '--dtype', dtype, '--out', made / f'rank-{dtype}']) for dtype in ('fp32', half)]):
            check.step(f'rank-study-{half}', 30, [node, root / 'scripts/rank-study.mjs', made / 'rank-fp32', made / f'rank-{half}', '--json'])
    # Training: every loss must be finite for a step to pass.
    dataset, tiny = golden / 'mini-dataset', golden / 'tiny-sd15'
    for name, options in {'fp32': ['--new', 'tiny', '--dtype', 'fp32'], half: ['--new', 'tiny', '--dtype', half],
                          'lora': ['--from', tiny, '--dtype', 'bf16', '--lora-rank', '4']}.items():
        check.step(f'train-{name}', 60, cli('train', dataset, '--out', made / f'train-{name}', '--steps', '20', '--train-batch', '8', '--sample-every', '20',
                                           '--sample-count', '1', '--sample-inference-steps', '4', *options))
    check.step(f'sample-{half}', 40, cli('sample', tiny, '--out', made / 'sampled', '-n', '4', '--inference-steps', '10', '--labels', '1920', '--dtype', half))
    applications(check, made, half)


def applications(check, made, dtype):
    dataset, model = golden / 'mini-dataset', ['--model', golden / 'tiny-sd15']
    here = made / f'applications-{dtype}'
    if check.step(f'translate-{dtype}', 60, cli('translate', dataset, *model, '--preset', 'cars', '--size', '32', '--inversion-steps', '10', '--inference-steps', '5', '--dtype', dtype,
                                                '--out', here / 'translated')):
        check.step(f'cotypicality-{dtype}', 60, cli('cotypicality', here / 'translated', *model, '--samples', '2', '--ensemble', '2', '--patch', '8', '--places', '3',
                                                    '--clusters', '2', '--dimensions', '4', '--dtype', dtype, '--out', here / 'changes'))
    check.step(f'localize-{dtype}', 60, cli('localize', dataset, *model, '--size', 'source', '--samples', '8', '--bootstrap', '10', '--overlays', '1', '--dtype', dtype,
                                            '--out', here / 'maps'))


def rest(check):
    if not with_addon(check):
        return
    made = build / 'rest'
    shutil.rmtree(made, ignore_errors=True)
    peer = environment.get('DIFFUSERS_PYTHON', '')
    with_peer = ['--diffusers', peer] if peer else []
    if not peer:
        check.skip('peer', 'DIFFUSERS_PYTHON is not set')
    bench = cli('bench', '--dtype', 'fp16')
    # The whole engine, its graphs and stages, where diffmine_bench times the UNet alone.
    check.step('engine', 300, [*bench, '--latents', '32,64', '--batch', '64', *with_peer])
    check.step('graphs', 120, [*bench, '--latents', '32', '--batch', '8,32', '--repeats', '3'])
    check.step('graphs-disabled', 120, [*bench, '--latents', '32', '--batch', '8,32', '--repeats', '3', '--disable', 'graphs'])
    check.step('ablation', 400, [*bench, '--latents', '64', '--batch', '64', '--ablate', 'all', '--repeats', '3'])
    check.step('batches', 200, [*bench, '--latents', '32,64', '--batch', '256,512', '--no-stages', '--repeats', '3'])
    if peer:
        for side in ('64', '32'):  # torch.compile searches for minutes
            check.step(f'compiled-{side}', 400, [*bench, '--batch', '64', '--latents', side, '--no-stages', '--repeats', '3', *with_peer, '--diffusers-compile', 'max-autotune'])
        whole(check, made, peer)
    check.step('verify-bf16', 120, cli('verify', golden, '--dtype', 'bf16'))
    check.step('training', 300, cli('bench', '--no-unet', '--training', 'tiny,small,medium,large,model', '--dtype', 'fp32,fp16,bf16', '--repeats', '3'))
    # Does fine-tuning Stable Diffusion 1.5 fit a card of 24 GB? The result's peakMemory.
    check.step('checkpointing', 150, cli('bench', '--no-unet', '--training', 'model', '--dtype', 'bf16', '--gradient-checkpointing', '--repeats', '18'))
    applications(check, made, 'fp32')
    cards = subprocess.run(['nvidia-smi', '--list-sizes-gpus'], capture_output=True, text=True, check=False).stdout.count('\n') if shutil.which('nvidia-smi') else 0
    if cards > 1:
        check.step('devices', 120, [node, root / 'bin/diffmine.js', 'scan', golden / 'mini-dataset', '--model', golden / 'tiny-sd15', '--size', 'source', '--samples', '12', '--patch', '16',
                                    '--batch', '8', '--shard-size', '2', '--devices', '0,1', '--dtype', 'fp16', '--out', made / 'devices', '--json'])
    else:
        check.skip('devices', 'there is one card')
    if check.step('build-tests', 240, ['cmake', '--build', build, '-j', os.cpu_count(), '--target', 'diffmine_tests']):
        sanitize(check, 'racecheck', 300)
        check.step('all-tests', 400, [build / 'diffmine_tests'])


def whole(check, made, peer):
    """A model of full size and images to go with it: billions of patches, by count of what 96 images take more than 6, and the reference's own loop."""
    model, images = made / 'model', made / 'images'
    if not check.step('whole-model', 200, [peer, root / 'scripts/random-model.py', model, golden / 'tiny-sd15']):
        return
    for name, count in (('few', '1'), ('all', '16')):
        if check.step(f'whole-images-{name}', 60, [node, root / 'bin/diffmine.js', 'demo', '--data-only', images / name, '--size', '512', '--images-per-label', count, '--holdout', '0', '--json']):
            check.step(f'whole-{name}', 300, cli('scan', images / name / 'train', '--model', model, '--dtype', 'fp16', '--no-maps', '--out', made / f'whole-{name}'))
    for dtype in ('fp16', 'fp32'):
        check.step(f'whole-reference-{dtype}', 200, cli('bench', '--no-unet', '--reference', '--diffusers', peer, '--reference-dtype', dtype, '--pipeline-model', model,
                                                        '--pipeline-data', images / 'all/train', '--pipeline-samples', '10', '--dtype', 'fp16', '--repeats', '1'))


CALLS = {'first': (first, 8), 'second': (second, 5), 'rest': (rest, 60)}


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in CALLS:
        print(__doc__, file=sys.stderr)
        return 2
    work, minutes = CALLS[sys.argv[1]]
    minutes = float(environment.get('MINUTES', minutes))
    check = Check(minutes, sys.argv[2:])

    def stop(number, _frame):
        signal.signal(number, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    commit = environment.get('COMMIT') or subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    check.emit({'check': 'gpu', 'call': sys.argv[1], 'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), 'commit': commit, 'device': device,
                'libtorch': str(find_libtorch()), 'minutes': minutes})
    stopped = None
    try:
        work(check)
    except Stopped as signalled:
        stopped = str(signalled)
    check.emit({'end': sys.argv[1], 'stopped': stopped, 'seconds': round(time.monotonic() - check.begin, 1), **check.counts})
    return 1 if check.counts['failed'] else 130 if stopped else 0


if __name__ == '__main__':
    sys.exit(main())
