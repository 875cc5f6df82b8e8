#!/bin/sh
# Clips of a manifest as a Slurm array, with Slurm alone; a task is one row, or a few:
#
#   sbatch --array=1-200%20 configs/farm/slurm.sh jobs.jsonl clips
#   sbatch --array=1-20 --export=ALL,CNX_ROWS_PER_TASK=10 configs/farm/slurm.sh jobs.jsonl clips --model svd-v2
#
# The last task makes the rows that are left. The words after the output folder go to `cnx batch`.
# Slurm sends SIGTERM before it ends a task: what is done is kept, and the task that is queued again
# goes on.
#SBATCH --job-name=cnx
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --output=cnx-%A_%a.log
set -eu
manifest=${1:?usage: sbatch --array=A-B slurm.sh MANIFEST OUTPUT_DIR [options of cnx batch]}
output=${2:?usage: sbatch --array=A-B slurm.sh MANIFEST OUTPUT_DIR [options of cnx batch]}
shift 2
task=${SLURM_ARRAY_TASK_ID:?give sbatch --array=A-B}
size=${CNX_ROWS_PER_TASK:-1}
last=$((task * size))
first=$((last - size + 1))
exec "${CNX:-cnx}" batch "$manifest" --output-dir "$output" --rows "$first-$last" \
    --progress plain --no-report "$@"
