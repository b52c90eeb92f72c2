#!/bin/sh
#SBATCH --job-name=bridge-0123456789abcdef0123456789abcdef
#SBATCH --array=0-11
#SBATCH --time=1-02:03:04
#SBATCH --signal=B:TERM@20
#SBATCH --nodes=2
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=2
#SBATCH --mem=4096M
#SBATCH --gres=gpu:1
#SBATCH --exclusive
#SBATCH --partition=normal
#SBATCH --account=physics
#SBATCH --qos=high
#SBATCH --constraint=avx512
#SBATCH --export=NIL
#SBATCH --chdir=/
#SBATCH --open-mode=append
#SBATCH --output=/scratch/alice/.bridge/alpha/0123456789abcdef0123456789abcdef/worker-%a.out

# run
umask 077
exec /usr/bin/python3 -I /scratch/alice/.bridge/alpha/node-0011223344556677.pyz worker /scratch/alice/.bridge/alpha/0123456789abcdef0123456789abcdef
